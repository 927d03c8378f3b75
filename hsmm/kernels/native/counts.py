"""Log-likelihood and expected counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.kernels.native.inputs import Arguments, alone, in_float64, rows_of
from hsmm.kernels.native.structures import CountsOut, LikelihoodOut
from hsmm.kernels.results import Posterior
from hsmm.potentials import Potentials
from hsmm.types import PerSeries

# Mass below the range of float64, exp(-700), can come to matter only after this many nats of misfit.
_SAFE_DEFICIT = 500.0


def log_partition(p: Potentials) -> PerSeries:
    exact = in_float64(p.detach())
    arguments = Arguments(exact)
    log_likelihood, deficit = (exact.log_emission.new_empty(p.n_restarts, p.n_series) for _ in range(2))
    lost = torch.empty_like(deficit, dtype=torch.bool)
    out = LikelihoodOut(arguments.point(log_likelihood), arguments.point(deficit), arguments.point(lost))
    arguments.run("hsmm_log_partition", out)
    harmless = (deficit < _SAFE_DEFICIT) & log_likelihood.isfinite() & _normalised(exact)[:, None]
    doubtful = (lost & ~harmless) | log_likelihood.isnan()
    for restart, series in _by_restart(doubtful):
        checked = expected_counts(alone(exact, restart, series))
        log_likelihood[restart, series] = checked.log_likelihood[0]
    return log_likelihood.to(p.log_emission.dtype)


def expected_counts(p: Potentials, series_weight: PerSeries | None = None) -> Posterior:
    p = p.detach()
    weight = None if series_weight is None else series_weight.detach().double()
    sums, doubtful = _scaled_counts(p, weight)
    if p.log_emission.dtype == torch.float32:
        for restart, series in _by_restart(doubtful):
            part = in_float64(alone(p, restart, series))
            sums.replace(p, restart, series, expected_counts(part, _part(weight, restart, series)))
    else:
        from hsmm.kernels import reference

        for restart, several in _by_restart(doubtful):
            for series in several.split(1):
                part = alone(p, restart, series)
                found = reference.expected_counts(part, _part(weight, restart, series))
                sums.replace(p, restart, series, found)
    return sums.posterior(p)


@dataclass(frozen=True, eq=False)
class _Sums:
    """The fields of a Posterior in float64, but ``state`` in the type it is asked for."""

    log_likelihood: Tensor
    state: Tensor
    initial: Tensor
    transition: Tensor
    duration: Tensor
    residual: Tensor
    tail_stay: Tensor
    tail_leave: Tensor

    @classmethod
    def zeros(cls, p: Potentials) -> _Sums:
        r, s, k, d = p.n_restarts, p.n_series, p.n_states, p.n_durations
        shapes = [(r, k), (r, k, k), (r, k, d), (r, k, d), (r, k), (r, k)]
        counts = (torch.zeros(shape, dtype=torch.float64) for shape in shapes)
        return cls(torch.zeros(r, s, dtype=torch.float64), torch.empty_like(p.log_emission.contiguous()), *counts)

    def replace(self, p: Potentials, restart: int, series: Tensor, found: Posterior) -> None:
        """Put in the results of series that the sums left out."""
        self.log_likelihood[restart, series] = found.log_likelihood[0].double()
        self.state[restart, rows_of(p, series)] = found.state[0].to(self.state.dtype)
        for name in ("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"):
            getattr(self, name)[restart] += getattr(found, name)[0]

    def posterior(self, p: Potentials) -> Posterior:
        return Posterior(**{name: x.to(p.log_emission.dtype) for name, x in vars(self).items()})


def _scaled_counts(p: Potentials, weight: PerSeries | None) -> tuple[_Sums, Tensor]:
    arguments = Arguments(p)
    sums = _Sums.zeros(p)
    doubtful = torch.zeros(p.n_restarts, p.n_series, dtype=torch.bool)
    fields = {name: arguments.point(x) for name, x in vars(sums).items()}
    out = CountsOut(series_weight=arguments.point(weight), doubtful=arguments.point(doubtful), **fields)
    arguments.run(
        "hsmm_expected_counts_f32" if p.log_emission.dtype == torch.float32 else "hsmm_expected_counts_f64",
        out,
    )
    return sums, doubtful


def _part(weight: PerSeries | None, restart: int, series: Tensor) -> PerSeries | None:
    return None if weight is None else weight[restart : restart + 1, series]


def _normalised(p: Potentials) -> Tensor:
    """(R,) whether no table gives out more probability than it gets."""
    tables = [p.log_initial.unsqueeze(1), p.log_transition]
    tables += [table for table in (p.log_duration, p.log_residual) if table is not None]
    return torch.stack([(table.logsumexp(-1) < 1e-6).all(1) for table in tables]).all(0)


def _by_restart(pairs: Tensor) -> list[tuple[int, Tensor]]:
    """Restarts with any of these (R, S) pairs, and which series."""
    return [(int(r), pairs[r].nonzero().squeeze(1)) for r in pairs.any(1).nonzero().squeeze(1)]
