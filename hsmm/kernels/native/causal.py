"""What the forward pass alone knows of every row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hsmm.kernels.native.inputs import Arguments, alone, in_float64, rows_of, survivals, with_segments
from hsmm.kernels.native.structures import CausalOut
from hsmm.kernels.results import Filtered
from hsmm.potentials import Potentials
from hsmm.types import DurationSeries


def filtered(p: Potentials) -> Filtered:
    from hsmm.kernels import reference

    state = torch.empty(p.log_emission.shape, dtype=torch.float64)
    log_density = torch.empty(p.log_emission.shape[:2], dtype=torch.float64)

    def in_log_space(part: Potentials) -> dict[str, Tensor]:
        return vars(reference.filtered(part))

    _run(p, in_log_space, {"state": state, "log_density": log_density})
    dtype = p.log_emission.dtype
    return Filtered(state.to(dtype), log_density.to(dtype))


def remaining(p: Potentials) -> DurationSeries:
    from hsmm.kernels import reference

    return _by_duration(p, "remaining", reference.remaining)


def elapsed(p: Potentials) -> DurationSeries:
    from hsmm.kernels import reference

    return _by_duration(p, "elapsed", reference.elapsed)


def _by_duration(p: Potentials, name: str, reference: Callable[[Potentials], DurationSeries]) -> DurationSeries:
    result = torch.empty(p.n_restarts, p.n_rows, p.n_durations, dtype=torch.float64)
    _run(p, lambda part: {name: reference(part)}, {name: result})
    return result.to(p.log_emission.dtype)


def _run(p: Potentials, in_log_space: Callable[[Potentials], dict[str, Tensor]], results: dict[str, Tensor]) -> None:
    """Fill ``results``, one (R, N, ...) tensor a name; sequences in doubt are computed again in log space."""
    exact = in_float64(p.detach())
    segments = with_segments(exact)
    arguments = Arguments(segments)
    doubtful = torch.zeros(p.n_restarts, p.n_series, dtype=torch.bool)
    fields = {name: arguments.point(result) for name, result in results.items()}
    if "elapsed" in results:
        survival, residual_survival = survivals(segments)
        fields["survival"] = arguments.point(survival.exp())
        fields["residual_survival"] = None if residual_survival is None else arguments.point(residual_survival.exp())
    arguments.run("hsmm_causal", CausalOut(doubtful=arguments.point(doubtful), **fields))
    for restart, series in doubtful.nonzero():
        one = series.unsqueeze(0)
        found = in_log_space(alone(exact, int(restart), one))
        for name, result in results.items():
            result[int(restart), rows_of(p, one)] = found[name][0]
