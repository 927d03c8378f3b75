"""Series simulated from a fitted model, many at once: their states are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hsmm import HSMM, Estimator

_STAYS = 20
_SHORTEST, _LONGEST = 200, 10_000


@dataclass(frozen=True)
class Simulated:
    """Rows (n_rows, n_features) of several series as the model sees them, and their states (n_rows,)."""

    X: np.ndarray
    states: np.ndarray
    lengths: list[int]
    context: np.ndarray | None = None


def simulated(model: Estimator, n_rows: int, seed: int, context: np.ndarray | None = None) -> Simulated:
    """About so many rows in series of equal lengths, each long enough for some twenty stays.

    Of a model with context, one series along the rows of ``context`` (n, n_context), of which there may be fewer.
    """
    generator = np.random.default_rng(seed)
    if model.uses_context:
        assert context is not None
        along = context[:n_rows]
        X, states = model.sample(len(along), seed, context=along)
        return Simulated(np.asarray(X), np.asarray(states), [len(along)], along)
    length = min(int(np.clip(_STAYS * _mean_stay(model), _SHORTEST, _LONGEST)), n_rows)
    paths = simulated_paths(model, max(1, n_rows // length), length, generator)
    torch_generator = torch.Generator().manual_seed(int(generator.integers(2**31)))
    X = model.emission_.sample(torch.from_numpy(paths.reshape(-1)), torch_generator).numpy()
    return Simulated(X, paths.reshape(-1), [length] * len(paths))


def simulated_paths(model: Estimator, n_series: int, n_steps: int, generator: np.random.Generator) -> np.ndarray:
    """(n_series, n_steps) states, one stay of every series at a time."""
    moves = _moves(model).cumsum(axis=1)
    state = _drawn(np.broadcast_to(model.initial_prob_.cumsum(), (n_series, moves.shape[0])), generator)
    entered = np.full((n_series, n_steps), -1)
    at, series = np.zeros(n_series, dtype=np.int64), np.arange(n_series)
    while len(series):
        entered[series, at[series]] = state[series]
        at[series] += _durations(model, state[series], n_steps, generator)
        series = series[at[series] < n_steps]
        state[series] = _drawn(moves[state[series]], generator)
    newest = np.maximum.accumulate(np.where(entered >= 0, np.arange(n_steps), 0), axis=1)
    return np.take_along_axis(entered, newest, axis=1)


def _moves(model: Estimator) -> np.ndarray:
    """(n_states, n_states) P(the next stay is in a state); of an HMM, of stays and not of steps."""
    transition = model.transition_prob_.copy()
    if isinstance(model, HSMM):
        return transition
    leaves = transition.sum(axis=1) - transition.diagonal()
    np.fill_diagonal(transition, np.where(leaves > 0, 0.0, 1.0))
    return transition / transition.sum(axis=1, keepdims=True)


def _durations(model: Estimator, states: np.ndarray, longest: int, generator: np.random.Generator) -> np.ndarray:
    """(n,) steps of a stay in each of the states, no longer than ``longest`` where they have no other end."""
    if not isinstance(model, HSMM):
        return 1 + _further(model.transition_prob_.diagonal()[states], longest, generator)
    steps = 1 + _drawn(model.duration_prob_.cumsum(axis=1)[states], generator)
    tail = model.tail_prob_
    if tail is None:
        return steps
    return steps + np.where(steps == model.max_duration, _further(tail[states], longest, generator), 0)


def _further(stays: np.ndarray, longest: int, generator: np.random.Generator) -> np.ndarray:
    """(n,) steps that are added one by one, each with probability ``stays`` (n,)."""
    with np.errstate(divide="ignore"):
        beyond = np.log(generator.random(len(stays))) / -np.abs(np.log(stays))
    return np.minimum(beyond, longest).astype(np.int64)


def _drawn(cumulative: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(n,) the column that a uniform number falls into, of (n, m) cumulative probabilities."""
    uniform = generator.random(len(cumulative)) * cumulative[:, -1]
    return (cumulative <= uniform[:, None]).sum(axis=1)


def _mean_stay(model: Estimator) -> float:
    """Of the state that lasts longest."""
    if isinstance(model, HSMM):
        return float(model.mean_duration_.max())
    return float(1 / np.maximum(1e-6, 1 - model.transition_prob_.diagonal()).min())
