"""What the forward pass alone knows of every row, how to go on after the last, and what a few rows more would say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import log_tables, longest_first, plan_of, shared_arguments, survivals
from hsmm.kernels.gpu.plans import Plan
from hsmm.kernels.gpu.teams import ROWS_OF_TRACE, Launch
from hsmm.kernels.results import Causal, CausalName, FilterState, with_tables_by_row
from hsmm.numerics import ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import StateSeries


@with_tables_by_row
def causal(p: Potentials, want: Collection[CausalName], after: FilterState | None = None) -> Causal:
    p = p.detach()
    plan = plan_of(p, paths=False)
    if plan is not None and plan.chunk:
        return _of_chain(replace(plan, causal=True), p, want, after)
    found = Causal.empty(p, want, after)
    ages = survivals(p) if "elapsed" in want or "filter_state" in want else (None, None)
    Launch.of_all("causal", p).run(
        "hsmm_causal",
        *ages,
        found.filtered,
        found.predicted,
        found.log_density,
        found.remaining,
        found.elapsed,
        *_arrays(after, with_rows=True),
        *_arrays(found.filter_state, with_rows=False),
    )
    return found


def _of_chain(plan: Plan, p: Potentials, want: Collection[CausalName], after: FilterState | None) -> Causal:
    """Every segment of an HMM is one step: its age and the steps it has left need no pass of their own."""
    one_step = {"elapsed", "remaining"} & set(want)
    found = Causal.empty(p, ["filtered", *want] if one_step else want, after)
    state, pairs = found.filter_state, longest_first(p)
    arguments = [
        *shared_arguments(p, log_tables(p), pairs, open_end=True),
        found.filtered,
        found.predicted,
        found.log_density,
        None if after is None else after.starting.contiguous(),
        None if state is None else state.starting,
        None if state is None else state.steps_left,
    ]
    launch.run(plan, "hsmm_causal", plan.grid(len(pairs)), arguments)
    if state is not None:
        state.by_age.copy_(state.steps_left)
    for name in one_step:
        getattr(found, name).copy_(ordered_sum(found["filtered"]).clamp(max=1.0).unsqueeze(-1))
    return found if "filtered" in want else replace(found, filtered=None)


@with_tables_by_row
def smoothed(p: Potentials, lag: int) -> StateSeries:
    p = p.detach()
    state = torch.empty_like(p.log_emission, memory_format=torch.contiguous_format)
    Launch.of_all("log_backward", p, rows=ROWS_OF_TRACE * p.n_states).run("hsmm_smoothed", lag, state)
    return state


def _arrays(state: FilterState | None, *, with_rows: bool) -> list[Tensor | None]:
    if state is None:
        return [None] * (3 + with_rows)
    arrays = [state.starting, state.steps_left, state.by_age]
    return [x.contiguous() for x in ([*arrays, state.n_rows] if with_rows else arrays)]
