"""What all drawings share: the colour of a state, a place to draw, an axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A5195", "#8C8C8C")
"""After Okabe and Ito: told apart with any colour vision."""

NO_STATE = "#CCCCCC"
MUTED = "#777777"


def colour(state: int) -> str:
    """The colour of a state wherever it is drawn."""
    return NO_STATE if state < 0 else PALETTE[state % len(PALETTE)]


def axes_or_new(ax: Axes | None, width: float = 9.0, height: float = 3.0) -> Axes:
    """``ax``, or the axes of a new figure, in inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def state_names(names: Sequence[str] | None, n_states: int) -> list[str]:
    """One name for each state. Raises ``ValueError`` for another number of names."""
    if names is None:
        return [f"state {k}" for k in range(n_states)]
    if len(names) != n_states:
        raise ValueError(f"names has {len(names)} entries; expected one for each of {n_states} states.")
    return [str(name) for name in names]


def as_numbers(times: Any) -> np.ndarray:
    """Places on an axis: days since the epoch for dates, numbers as they are."""
    found = np.asarray(times)
    if found.dtype.kind == "M":
        from matplotlib.dates import date2num

        return date2num(found)
    return found.astype(np.float64)


def label_dates(ax: Axes) -> None:
    """Dates in as few words as tell them apart."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def bare_edges(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
