"""What the forward pass alone knows of every row, and how to go on after the last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hsmm.kernels.native.inputs import Arguments, in_float64, in_logarithms
from hsmm.kernels.results import Causal, CausalName, FilterState
from hsmm.native.interface import CausalOut, SavedState, SmoothedOut
from hsmm.numerics import log_survival, ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import StateSeries


def causal(p: Potentials, want: Collection[CausalName], after: FilterState | None = None) -> Causal:
    p, dtype = p.detach(), p.log_emission.dtype
    found = _of_hmm(p, want, after) if p.log_duration is None else _of_segments(p, want, after)
    rows: dict[str, Any] = {name: x.to(dtype) for name, x in vars(found).items() if isinstance(x, Tensor)}
    return replace(found, **rows)


def smoothed(p: Potentials, lag: int) -> StateSeries:
    state = torch.empty(p.log_emission.shape, dtype=torch.float64)
    arguments = in_logarithms(p.detach())
    arguments.run("hsmm_smoothed", SmoothedOut(lag=lag, state=arguments.point(state)))
    return state.to(p.log_emission.dtype)


def _of_hmm(p: Potentials, want: Collection[CausalName], after: FilterState | None) -> Causal:
    """Every segment is one step: its age and the steps it has left need no pass of their own."""
    names: list[CausalName] = ["filtered", *(name for name in want if name not in ("elapsed", "remaining"))]
    found = _of_segments(p, names, after)
    one_step = ordered_sum(found["filtered"]).unsqueeze(-1)
    state = found.filter_state
    return Causal(
        filtered=found.filtered if "filtered" in want else None,
        predicted=found.predicted,
        log_density=found.log_density,
        elapsed=one_step if "elapsed" in want else None,
        remaining=one_step if "remaining" in want else None,
        filter_state=None if state is None else replace(state, by_age=state.steps_left),
    )


def _of_segments(p: Potentials, want: Collection[CausalName], after: FilterState | None) -> Causal:
    p = in_float64(p)
    found = Causal.empty(p, want, after)
    arguments = in_logarithms(p)
    out = CausalOut(
        state=arguments.point(found.filtered),
        predicted=arguments.point(found.predicted),
        log_density=arguments.point(found.log_density),
        remaining=arguments.point(found.remaining),
        elapsed=arguments.point(found.elapsed),
        before=_saved(arguments, after),
        after=_saved(arguments, found.filter_state),
    )
    if p.log_duration is not None and ("elapsed" in want or "filter_state" in want):
        law = p.residual_law()
        out.survival = arguments.point(log_survival(p.log_duration))
        out.residual_survival = None if law is None else arguments.point(log_survival(law))
    arguments.run("hsmm_causal", out)
    return found


def _saved(arguments: Arguments, state: FilterState | None) -> int | None:
    if state is None:
        return None
    return arguments.refer(SavedState(**{name: arguments.point(x) for name, x in vars(state).items()}))
