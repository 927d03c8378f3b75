"""What the forward pass alone knows of every row, and how to go on after the last."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.kernels.native.inputs import in_float64, in_logarithms
from hsmm.kernels.native.structures import CausalOut, FilterStateOut, SmoothedOut
from hsmm.kernels.results import Filtered, FilterState
from hsmm.numerics import log_survival, ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import DurationSeries, StateSeries


def filtered(p: Potentials, after: FilterState | None = None) -> Filtered:
    state = torch.empty(p.log_emission.shape, dtype=torch.float64)
    log_density = torch.empty(p.log_emission.shape[:2], dtype=torch.float64)
    _run(p, after, {"state": state, "log_density": log_density})
    dtype = p.log_emission.dtype
    return Filtered(state.to(dtype), log_density.to(dtype))


def remaining(p: Potentials, after: FilterState | None = None) -> DurationSeries:
    return _by_duration(p, after, "remaining")


def elapsed(p: Potentials, after: FilterState | None = None) -> DurationSeries:
    return _by_duration(p, after, "elapsed")


def filter_state(p: Potentials, after: FilterState | None = None) -> FilterState:
    shape = (p.n_restarts, p.n_series, p.n_states)
    state = FilterState(
        torch.empty(shape, dtype=torch.float64),
        torch.empty(*shape, p.n_durations, dtype=torch.float64),
        torch.empty(*shape, p.n_durations, dtype=torch.float64),
        p.lengths if after is None else after.n_rows + p.lengths,
    )
    _run(p, after, {}, state)
    return replace(state, by_age=state.steps_left) if p.log_duration is None else state


def smoothed(p: Potentials, lag: int) -> StateSeries:
    state = torch.empty(p.log_emission.shape, dtype=torch.float64)
    arguments = in_logarithms(p.detach())
    arguments.run("hsmm_smoothed", SmoothedOut(lag=lag, state=arguments.point(state)))
    return state.to(p.log_emission.dtype)


def _by_duration(p: Potentials, after: FilterState | None, name: str) -> DurationSeries:
    if p.log_duration is None:
        return ordered_sum(filtered(p, after).state).unsqueeze(-1)
    result = torch.empty(p.n_restarts, p.n_rows, p.n_durations, dtype=torch.float64)
    _run(p, after, {name: result})
    return result.to(p.log_emission.dtype)


def _run(
    p: Potentials, before: FilterState | None, results: dict[str, Tensor], after: FilterState | None = None
) -> None:
    """Fill ``results``, one (R, N, ...) tensor a name, and the state ``after`` the last row."""
    p = in_float64(p.detach())
    arguments = in_logarithms(p)
    fields = {name: arguments.point(result) for name, result in results.items()}
    if p.log_duration is not None and ("elapsed" in results or after is not None):
        law = p.residual_law()
        fields["survival"] = arguments.point(log_survival(p.log_duration))
        fields["residual_survival"] = None if law is None else arguments.point(log_survival(law))
    states = {"before": before, "after": after}
    given = {
        name: None
        if state is None
        else FilterStateOut(**{field: arguments.point(x) for field, x in vars(state).items()})
        for name, state in states.items()
    }
    fields |= {name: arguments.refer(state) for name, state in given.items()}
    arguments.run("hsmm_causal", CausalOut(**fields))
