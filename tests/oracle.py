"""Exact answers for one small series under one model, found by writing down every possible segmentation.

Linear probabilities, no recursion over time: nothing here is shared with the kernels that it judges.
The conventions are those of :class:`hsmm.potentials.Potentials` and :mod:`hsmm.kernels.results`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """Probabilities and densities for a series of T rows; they need not be normalised.

    ``initial`` (K,), ``transition`` (T, K, K), ``duration`` (T, K, D), ``emission`` (T, K); ``tail`` (K,),
    the probability of one more step in the tail slot; ``residual`` (K, D), where None is P(d >= r) / E[d] of
    the first row's durations. An HMM is a ``duration`` of ones with D = 1.
    """

    initial: Array
    transition: Array
    duration: Array
    emission: Array
    tail: Array | None = None
    residual: Array | None = None
    left_censored: bool = False
    right_censored: bool = True

    def stay(self, state: int) -> float | None:
        return None if self.tail is None else float(self.tail[state])

    def law(self, start: int, state: int) -> Array:
        """Columns of the law of the number of steps of a segment first seen at ``start``."""
        if start > 0 or not self.left_censored:
            return self.duration[start, state]
        if self.residual is not None:
            return self.residual[state]
        survival = _survival_column_sums(self.duration[0, state], self.stay(state))
        return survival / survival.sum()


@dataclass(frozen=True)
class Answers:
    """Everything that inference can be asked, for one series; named as in :mod:`hsmm.kernels.results`.

    ``transition`` and ``duration`` keep the row at which they happened: (T, K, K), (T, K, D). ``best_paths``
    holds the state paths of all segmentations that score within 1e-9 of the best one. Causal rows after an
    impossible one are NaN, but for ``log_density``, which is -inf there.
    """

    log_likelihood: float
    state: Array
    initial: Array
    transition: Array
    duration: Array
    residual: Array
    tail_stay: Array
    tail_leave: Array
    best_log_probability: float
    best_paths: frozenset[tuple[int, ...]]
    filtered: Array
    log_density: Array
    elapsed: Array
    remaining: Array


class Lifetime(NamedTuple):
    """One way for a segment to last: a column of its duration law, and visible moves in the tail slot."""

    column: int
    probability: float
    stays: int
    leaves: int
    left: int
    """Steps left at the last visible step, counting that one; under a tail D stands for D or more."""


class Segment(NamedTuple):
    start: int
    length: int
    state: int
    lifetime: Lifetime

    @property
    def run(self) -> tuple[int, int, int]:
        return self.start, self.length, self.state


Segmentation = tuple[float, list[Segment]]


def answers(model: Model) -> Answers:
    """Sum over every segmentation, with its joint probability with the data as its weight."""
    n_rows, n_states = model.emission.shape
    n_durations = model.duration.shape[-1]
    total = 0.0
    state = np.zeros((n_rows, n_states))
    initial = np.zeros(n_states)
    transition = np.zeros((n_rows, n_states, n_states))
    duration = np.zeros((n_rows, n_states, n_durations))
    residual = np.zeros((n_states, n_durations))
    tail_stay, tail_leave = np.zeros(n_states), np.zeros(n_states)
    weight_of_runs: dict[tuple[tuple[int, int, int], ...], float] = {}
    for weight, segments in segmentations(model, n_rows, model.right_censored):
        total += weight
        initial[segments[0].state] += weight
        for segment in segments:
            start, length, k = segment.run
            state[start : start + length, k] += weight
            if start == 0 and model.left_censored:
                residual[k, segment.lifetime.column] += weight
            else:
                duration[start, k, segment.lifetime.column] += weight
            tail_stay[k] += weight * segment.lifetime.stays
            tail_leave[k] += weight * segment.lifetime.leaves
        for before, after in itertools.pairwise(segments):
            transition[after.start - 1, before.state, after.state] += weight
        runs = tuple(segment.run for segment in segments)
        weight_of_runs[runs] = weight_of_runs.get(runs, 0.0) + weight
    counts = (state, initial, transition, duration, residual, tail_stay, tail_leave)
    best = max(weight_of_runs.values(), default=0.0)
    return Answers(
        _log(total),
        *(count / total if total > 0 else count for count in counts),
        best_log_probability=_log(best),
        best_paths=frozenset(_path(runs) for runs, weight in weight_of_runs.items() if weight >= best * (1 - 1e-9)),
        **_causal(model),
    )


def segmentations(
    model: Model, n_rows: int, right_censored: bool, start: int = 0, entry: Array | None = None
) -> Iterator[Segmentation]:
    """All possible segmentations of the rows from ``start`` on; ``entry`` is the law of the first state."""
    entry = model.initial if entry is None else entry
    for k in np.flatnonzero(entry).tolist():
        law, density = model.law(start, k), float(entry[k])
        for length in range(1, n_rows - start + 1):
            end = start + length
            density *= float(model.emission[end - 1, k])
            open_ended = end == n_rows and right_censored
            lasting = _lasting_at_least if open_ended else _lasting_exactly
            for lifetime in lasting(law, model.stay(k), length):
                weight = density * lifetime.probability
                segment = Segment(start, length, k, lifetime)
                if weight > 0 and end == n_rows:
                    yield weight, [segment]
                elif weight > 0:
                    entry_next = model.transition[end - 1, k]
                    for rest_weight, rest in segmentations(model, n_rows, right_censored, end, entry_next):
                        yield weight * rest_weight, [segment, *rest]


def truncated(model: Model, n_rows: int) -> Model:
    """The same model of the first ``n_rows`` rows, its last segment free to run on."""
    return replace(
        model,
        transition=model.transition[:n_rows],
        duration=model.duration[:n_rows],
        emission=model.emission[:n_rows],
        right_censored=True,
    )


def _lasting_exactly(law: Array, stay: float | None, length: int) -> Iterator[Lifetime]:
    n_durations = len(law)
    if length < n_durations or (length == n_durations and stay is None):
        yield Lifetime(length - 1, float(law[length - 1]), 0, 0, 1)
    elif stay is not None:
        stays = length - n_durations
        yield Lifetime(n_durations - 1, float(law[-1]) * stay**stays * (1 - stay), stays, 1, 1)


def _lasting_at_least(law: Array, stay: float | None, length: int) -> Iterator[Lifetime]:
    n_durations = len(law)
    for duration in range(length, n_durations + (stay is None)):
        yield Lifetime(duration - 1, float(law[duration - 1]), 0, 0, duration - length + 1)
    if stay is None:
        return
    for stays in range(max(0, length - n_durations), length - 1):
        left = n_durations + stays + 1 - length
        yield Lifetime(n_durations - 1, float(law[-1]) * stay**stays * (1 - stay), stays, 1, left)
    yield Lifetime(n_durations - 1, float(law[-1]) * stay ** (length - 1), length - 1, 0, n_durations)


def _survival_column_sums(law: Array, stay: float | None) -> Array:
    """P(d >= r) for each column; under a tail the last column is their sum from there on."""
    survival = np.array([law[column:].sum() for column in range(len(law))])
    if stay is not None:
        survival[-1] /= 1 - stay
    return survival


def _causal(model: Model) -> dict[str, Array]:
    n_rows, n_states = model.emission.shape
    n_durations = model.duration.shape[-1]
    filtered = np.full((n_rows, n_states), np.nan)
    elapsed, remaining = np.full((2, n_rows, n_durations), np.nan)
    log_mass = np.full(n_rows + 1, -np.inf)
    log_mass[0] = 0.0
    for n in range(n_rows):
        state, since, left = np.zeros(n_states), np.zeros(n_durations), np.zeros(n_durations)
        for weight, segments in segmentations(model, n + 1, right_censored=True):
            last = segments[-1]
            state[last.state] += weight
            since[min(last.length, n_durations) - 1] += weight
            left[last.lifetime.left - 1] += weight
        mass = state.sum()
        if mass == 0:
            break
        filtered[n], elapsed[n], remaining[n] = state / mass, since / mass, left / mass
        log_mass[n + 1] = np.log(mass)
    possible = np.isfinite(log_mass[1:])
    log_density = np.full(n_rows, -np.inf)
    log_density[possible] = np.diff(log_mass[: possible.sum() + 1])
    return {"filtered": filtered, "log_density": log_density, "elapsed": elapsed, "remaining": remaining}


def _path(runs: tuple[tuple[int, int, int], ...]) -> tuple[int, ...]:
    return tuple(state for _, length, state in runs for _ in range(length))


def _log(probability: float) -> float:
    return float(np.log(probability)) if probability > 0 else -np.inf
