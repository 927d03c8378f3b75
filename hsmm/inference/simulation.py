"""Simulation of states from a model's tables."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.potentials import Potentials


def simulate_states(p: Potentials, n_samples: int, generator: torch.Generator) -> Tensor:
    """(n_samples,) states simulated from the first model's tables, segment by segment.

    Tables that change with time have a row for each sample, or say which each has.
    """
    transition = p.log_transition[0].exp()
    states = torch.empty(n_samples, dtype=torch.int64)
    start, state = 0, _draw(p.log_initial[0].exp(), generator)
    while start < n_samples:
        end = start + _draw_duration(p, start, state, generator, n_samples)
        states[start:end] = state
        if end < n_samples:
            moves = transition if transition.ndim == 2 else transition[_table(p.transition_of_row, end - 1)]
            state = _draw(moves[state], generator)
        start = end
    return states


def _draw_duration(p: Potentials, row: int, state: int, generator: torch.Generator, longest: int) -> int:
    if p.log_duration is None:
        return 1
    table = p.log_duration[0] if p.log_duration.ndim == 3 else p.log_duration[0, _table(p.duration_of_row, row)]
    steps = 1 + _draw(table[state].exp(), generator)
    if p.log_tail is None or steps < p.n_durations:
        return steps
    uniform = torch.rand((), generator=generator, dtype=torch.float64)
    stays = uniform.log() / p.log_tail[0, state]
    return min(steps + int(stays.clamp(max=float(longest))), longest)


def _table(of_row: Tensor | None, row: int) -> int:
    return row if of_row is None else int(of_row[row])


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(weights, 1, generator=generator))
