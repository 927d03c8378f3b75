"""Entering and leaving: high for some rows in a row to begin, low once to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hysteresis:
    """Entered when values have been ``enter`` or more for ``confirm`` rows, left when one is below ``leave``."""

    enter: float
    leave: float
    confirm: int = 1

    def entered(self, values: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Whether each row lies within: (n_rows, n) booleans of ``values`` (n_rows, n), causal.

        ``first`` (n_rows,) marks the first row of each series; nothing is carried over it.
        """
        begins = _run_length(values >= self.enter, first) >= self.confirm
        told = begins | (values < self.leave) | first[:, None]
        return np.take_along_axis(begins, _last(told), axis=0)


def beginnings(within: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(n_rows, n): the rows at which something begins that the row before of its series did not have."""
    before = np.zeros_like(within)
    before[1:] = within[:-1]
    before[first] = False
    return within & ~before


def last_before(events: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(n_rows,) the last of ``events`` (n_rows,), which are -1 where nothing happened, before each row; -1 for none."""
    own = np.where(first, -2, -1)
    shifted = np.concatenate([[-1], events[:-1]])
    shifted[first] = -1
    told = (shifted >= 0) | (own == -2)
    return shifted[_last(told[:, None])[:, 0]]


def _last(told: np.ndarray) -> np.ndarray:
    """(n_rows, n) the newest row, up to each, that is told; the first row of a series must be."""
    rows = np.arange(len(told))[:, None]
    return np.maximum.accumulate(np.where(told, rows, 0), axis=0)


def _run_length(high: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(n_rows, n) for how many rows, up to each of its series, ``high`` has held."""
    rows = np.arange(len(high))[:, None]
    broken = np.where(high, np.where(first[:, None], rows - 1, -1), rows)
    return rows - np.maximum.accumulate(broken, axis=0)
