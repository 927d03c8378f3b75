"""Simulation of states from a model's tables."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.potentials import Potentials


def simulate_states(p: Potentials, n_samples: int, generator: torch.Generator) -> Tensor:
    """(n_samples,) states simulated from the first model's tables, segment by segment."""
    initial, transition = p.log_initial[0].exp(), p.log_transition[0].exp()
    states = torch.empty(n_samples, dtype=torch.int64)
    start, state = 0, _draw(initial, generator)
    while start < n_samples:
        steps = _draw_duration(p, state, generator, n_samples)
        states[start : start + steps] = state
        start, state = start + steps, _draw(transition[state], generator)
    return states


def _draw_duration(p: Potentials, state: int, generator: torch.Generator, longest: int) -> int:
    if p.log_duration is None:
        return 1
    steps = 1 + _draw(p.log_duration[0, state].exp(), generator)
    if p.log_tail is None or steps < p.n_durations:
        return steps
    uniform = torch.rand((), generator=generator, dtype=torch.float64)
    stays = uniform.log() / p.log_tail[0, state]
    return min(steps + int(stays.clamp(max=float(longest))), longest)


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(weights, 1, generator=generator))
