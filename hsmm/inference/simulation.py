"""Simulation of states from a model's tables."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.potentials import Potentials


def simulate_states(p: Potentials, n_samples: int, generator: torch.Generator) -> Tensor:
    """(n_samples,) states simulated from the first model's tables, segment by segment.

    Tables that change with time have a row for each sample, or say which each has.
    """
    states = torch.empty(n_samples, dtype=torch.int64)
    start, state = 0, draw(p.log_initial[0].exp(), generator)
    while start < n_samples:
        end = start + draw_duration(p, start, state, generator, n_samples)
        states[start:end] = state
        if end < n_samples:
            state = draw(moves_at(p, end - 1)[state].exp(), generator)
        start = end
    return states


def draw_duration(p: Potentials, row: int, state: int, generator: torch.Generator, longest: int) -> int:
    """Steps of a segment of this state that begins at this row, in the tail about ``longest`` at most."""
    if p.log_duration is None:
        return 1
    table = p.log_duration[0] if p.log_duration.ndim == 3 else p.log_duration[0, _table(p.duration_of_row, row)]
    steps = 1 + draw(table[state].exp(), generator)
    if p.log_tail is None or steps < p.n_durations:
        return steps
    uniform = torch.rand((), generator=generator, dtype=torch.float64)
    stays = uniform.log() / p.log_tail[0, state]
    return min(steps + int(stays.clamp(max=float(longest))), longest)


def _table(of_row: Tensor | None, row: int) -> int:
    return row if of_row is None else int(of_row[row])


def moves_at(p: Potentials, row: int) -> Tensor:
    """(K, K) log-probabilities of the step from this row to the next, of the first model."""
    return p.log_transition[0] if p.log_transition.ndim == 3 else p.log_transition[0, _table(p.transition_of_row, row)]


def draw(weights: Tensor, generator: torch.Generator) -> int:
    """A number from 0 with these probabilities."""
    return int(torch.multinomial(weights, 1, generator=generator))
