"""What the forward pass alone knows of every row, how to go on after the last, and what a few rows more would say."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from hsmm.kernels.gpu.inputs import survivals
from hsmm.kernels.gpu.teams import ROWS_OF_TRACE, Launch
from hsmm.kernels.results import Causal, CausalName, FilterState
from hsmm.potentials import Potentials
from hsmm.types import StateSeries


def causal(p: Potentials, want: Collection[CausalName], after: FilterState | None = None) -> Causal:
    p = p.detach()
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
