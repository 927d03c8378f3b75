"""Forward filtering, backward sampling of state paths."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.kernels.reference.chain import Chain, Step
from hsmm.kernels.results import with_tables_by_row
from hsmm.numerics import logaddexp
from hsmm.potentials import Potentials


@with_tables_by_row
def sample_paths(p: Potentials, n: int, generator: torch.Generator | None = None) -> Tensor:
    """``n`` paths from p(states | y): (n, R, N) int64; -1 throughout an impossible series. Memory O(N·K·D)."""
    chain = Chain(p)
    steps = list(chain.forward())
    tables = p.log_emission
    uniform = torch.rand(3, n, p.n_restarts, p.n_rows, generator=generator, dtype=tables.dtype, device=tables.device)
    paths = torch.full((n, p.n_restarts, p.n_rows), -1, dtype=torch.int64, device=tables.device)
    state = slot = paths[..., :0]
    possible = torch.zeros(p.n_restarts, 0, dtype=torch.bool, device=tables.device)
    for step in reversed(steps):
        running = state.shape[-1]
        if running:
            state, slot = _step_back(chain, step, steps[step.t + 1], state, slot, uniform)
        weights = _at_last_row(chain, step, running).flatten(-2)
        last = _draw(weights, uniform[2][..., step.rows[running:]])
        state = torch.cat([state, last // p.n_durations], -1)
        slot = torch.cat([slot, last % p.n_durations], -1)
        possible = torch.cat([possible, (weights > -torch.inf).any(-1)], -1)
        paths[..., step.rows] = torch.where(possible, state, -1)
    return paths


def _at_last_row(chain: Chain, step: Step, running: int) -> Tensor:
    """(R, ·, K, D) log-weights of (state, steps left) for the series whose last row this is."""
    weights = step.filtered[:, running:]
    ending = torch.full_like(weights, -torch.inf)
    ending[..., 0] = step.ended[:, running:]
    free = chain.right_censored[running : len(step.rows), None, None]
    return weights if chain.p.log_duration is None else torch.where(free, weights, ending)


def _step_back(
    chain: Chain, step: Step, following: Step, state: Tensor, slot: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """State and slot (n, R, A) at ``step`` given those at the ``following`` row."""
    n_durations, rows = chain.p.n_durations, following.rows
    running = len(rows)
    chooses, moves = uniform[:2][..., rows]
    cell = state * n_durations + slot
    continuing = _pick(chain.advance(step.filtered[:, :running]).flatten(-2), cell)
    duration = chain.duration_at(rows).expand(-1, running, -1, -1)
    starting = _pick((following.started.unsqueeze(-1) + duration).flatten(-2), cell)
    starts = torch.log(chooses) < starting - logaddexp(starting, continuing)
    into = step.ended[:, :running, None] + chain.transition_into(rows).mT
    weights = torch.take_along_dim(into[None], state[..., None, None], -2).squeeze(-2)
    previous_slot = (slot + 1).clamp(max=n_durations - 1)
    return torch.where(starts, _draw(weights, moves), state), torch.where(starts, 0, previous_slot)


def _pick(table: Tensor, index: Tensor) -> Tensor:
    """Entries (n, R, A) of a table (R, A, ·) at an index (n, R, A) of its last axis."""
    return torch.take_along_dim(table[None], index[..., None], -1).squeeze(-1)


def _draw(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Index of the last axis of (..., C), drawn in proportion to exp(log_weights) by inverting the uniform."""
    weights = (log_weights - log_weights.amax(-1, keepdim=True).clamp(min=torch.finfo(log_weights.dtype).min)).exp()
    heights = weights.cumsum(-1)
    return (heights <= uniform[..., None] * heights[..., -1:]).sum(-1).clamp(max=log_weights.shape[-1] - 1)
