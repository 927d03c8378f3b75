"""Causality proved by truncation: what was said of a row does not change when all later rows are taken away."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from hsmm.errors import IntervalWarning
from hsmm.sequences import Sequences

_OF_STATES = ("filter_proba", "log_density")
_OF_TIME = ("elapsed_duration", "remaining_duration")


class CausalModel(Protocol):
    """A fitted estimator with its causal questions."""

    def filter_proba(self, X: Any, lengths: Any = None, *, context: Any = None) -> np.ndarray: ...
    def log_density(self, X: Any, lengths: Any = None, *, context: Any = None) -> np.ndarray: ...
    def elapsed_duration(self, X: Any, lengths: Any = None, *, context: Any = None) -> np.ndarray: ...
    def remaining_duration(self, X: Any, lengths: Any = None, *, context: Any = None) -> np.ndarray: ...


Maker: TypeAlias = Callable[[np.ndarray, np.ndarray], CausalModel]
Features: TypeAlias = Callable[[np.ndarray, np.ndarray], Any]


@dataclass(frozen=True)
class Causality:
    """What cutting the data changed.

    - ``is_causal``: nothing, to the last bit
    - ``worst``: the largest absolute difference; infinite where a number became none
    - ``question``, ``series``, ``row``, ``kept``: where that was found: the answer to ``question`` at a ``row`` of a
      ``series`` (both count from 0) changed when only the first ``kept`` rows of the series were there; None if nowhere
    - ``questions``: the answers that were compared: filter_proba, log_density, and where the model answers them
      elapsed_duration and remaining_duration
    - ``n_cuts``: cuts that were made
    - ``n_compared``: rows that were compared, over all cuts
    """

    is_causal: bool
    worst: float
    question: str | None
    series: int | None
    row: int | None
    kept: int | None
    questions: tuple[str, ...]
    n_cuts: int
    n_compared: int


def check_causal(
    model: CausalModel | Maker,
    X: Any,
    lengths: Any = None,
    *,
    n_cuts: int = 20,
    random_state: int = 0,
    context: Any = None,
    features: Features | None = None,
    min_rows: int = 1,
) -> Causality:
    """Cut every series at random rows, ask again, and compare all causal answers to the rows that are left.

    With a fitted ``model`` and finished ``X`` this tests the model alone. The other channels by which a future can leak
    are tested where they are given as functions of (X, lengths), which are called anew for every cut: ``features``
    makes the matrix that the model sees from the raw rows X, and ``model`` may be a function that returns the fitted
    model in force. ``min_rows`` is what every cut leaves of a series, such as the rows that parameters and statistics
    are made from; shorter series stay whole.

    Raises ``ValueError`` if there is nothing to cut.
    """
    if n_cuts < 1 or min_rows < 1:
        raise ValueError(f"n_cuts is {n_cuts} and min_rows {min_rows}; expected whole numbers >= 1.")
    rows, packed = _rows(X), Sequences.from_arrays(_rows(X), lengths)
    sizes = packed.lengths.numpy()
    if not (sizes > min_rows).any():
        raise ValueError(f"the longest series has {sizes.max()} rows; expected more than min_rows={min_rows}.")
    least = np.clip(np.maximum(min_rows, _first_observed(packed) + 1), 1, sizes)
    beside = None if context is None else _rows(context)
    whole = _answers(model, rows, sizes, beside, features)
    generator, found, n_compared = np.random.default_rng(random_state), list[tuple[float, str, int, int, int]](), 0
    for _ in range(n_cuts):
        kept = np.maximum(generator.integers(np.minimum(least, sizes - 1), sizes), least)
        left = _left(sizes, kept)
        part = _answers(model, rows[left], kept, None if beside is None else beside[left], features)
        found += list(_differences(whole, part, left, kept))
        n_compared += int(left.sum())
    worst, question, series, row, at = max(found, default=(0.0, None, None, None, None), key=lambda leak: leak[0])
    return Causality(not found, worst, question, series, row, at, tuple(whole), n_cuts, n_compared)


def _rows(values: Any) -> np.ndarray:
    found = np.asarray(values)
    return found[:, None] if found.ndim == 1 else found


def _first_observed(packed: Sequences) -> np.ndarray:
    """(S,) the first row of each series that has a value, or how many rows there are."""
    observed = packed.observed.any(1).numpy()
    parts = np.split(observed, packed.offsets[1:-1].numpy())
    return np.array([int(part.argmax()) if part.any() else len(part) for part in parts])


def _left(sizes: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(N,) whether a row is among the first of its series that are kept."""
    within = np.concatenate([np.arange(size) for size in sizes])
    return within < np.repeat(kept, sizes)


def _answers(
    model: CausalModel | Maker, rows: np.ndarray, sizes: np.ndarray, context: Any, features: Features | None
) -> dict[str, np.ndarray]:
    values = rows if features is None else _rows(features(rows, sizes))
    if len(values) != len(rows):
        raise ValueError(f"features made {len(values)} rows of {len(rows)}; expected one for each.")
    fitted: Any = model if hasattr(model, "filter_proba") else model(values, sizes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has no feature names")  # gone with the frame
        warnings.simplefilter("ignore", IntervalWarning)  # nobody acts on these answers
        return _answered(fitted, values, sizes, context)


def _answered(fitted: Any, values: np.ndarray, sizes: np.ndarray, context: Any) -> dict[str, np.ndarray]:
    answers = {name: np.asarray(getattr(fitted, name)(values, sizes, context=context)) for name in _OF_STATES}
    for name in _OF_TIME:
        with suppress(ValueError):  # moves that follow a context say nothing of how long an HMM's states last
            answers[name] = np.asarray(getattr(fitted, name)(values, sizes, context=context))
    return answers


def _differences(
    whole: dict[str, np.ndarray], part: dict[str, np.ndarray], left: np.ndarray, kept: np.ndarray
) -> Iterator[tuple[float, str, int, int, int]]:
    """The largest change of each answer whose bits differ: how large, which, series, row, rows kept of the series."""
    series, starts = np.repeat(np.arange(len(kept)), kept), np.cumsum(kept) - kept
    for question, now in part.items():
        then = whole[question][left]
        if then.shape == now.shape and then.tobytes() == now.tobytes():
            continue
        by_row = _distance(then, now).reshape(len(now), -1).max(1)
        row = int(by_row.argmax())
        where = int(series[row])
        yield float(by_row[row]), question, where, row - int(starts[where]), int(kept[where])


def _distance(then: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Absolute differences; infinite where only one is a number."""
    if then.shape != now.shape:
        return np.full(now.shape, np.inf)
    with np.errstate(invalid="ignore"):
        apart = np.where(then == now, 0.0, np.abs(then - now))
    return np.where(np.isnan(then) & np.isnan(now), 0.0, np.where(np.isnan(apart), np.inf, apart))
