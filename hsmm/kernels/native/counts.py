"""Log-likelihood and expected counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hsmm.kernels import results
from hsmm.kernels.native.inputs import (
    Arguments,
    in_float64,
    in_logarithms,
    most_by_series,
    scaled,
    tables_by_row,
)
from hsmm.kernels.results import Posterior
from hsmm.native.interface import CountsOut, LikelihoodOut
from hsmm.potentials import Potentials
from hsmm.types import PerSeries

# Mass below the range of float64, exp(-700), can come to matter only after this many nats of misfit.
_SAFE_DEFICIT = 500.0


def log_partition(p: Potentials) -> PerSeries:
    p = p.detach()
    log_likelihood = torch.empty(p.of_pairs, dtype=torch.float64)
    doubtful = _scaled_log_partition(in_float64(p), log_likelihood)
    if len(doubtful):
        doubtful = _with_counts(in_float64(p), log_likelihood, doubtful)
    if len(doubtful):
        arguments = in_logarithms(p, doubtful)
        arguments.run("hsmm_log_score", LikelihoodOut(log_likelihood=arguments.point(log_likelihood)))
    return log_likelihood.to(p.log_emission.dtype)


def expected_counts(p: Potentials, series_weight: PerSeries | None = None) -> Posterior:
    p = p.detach()
    weight = None if series_weight is None else series_weight.detach().double()
    sums = _Sums.empty(p)
    doubtful = sums.add_scaled(p, weight)
    if p.log_emission.dtype == torch.float32 and len(doubtful):
        doubtful = sums.add_scaled(in_float64(p), weight, doubtful)
    if len(doubtful):
        sums.add_in_logarithms(p, weight, doubtful)
    return sums.posterior(p)


def _scaled_log_partition(p: Potentials, log_likelihood: Tensor) -> Tensor:
    """Fills ``log_likelihood`` (R, S); returns the pairs that scaled arithmetic may have got wrong."""
    arguments = scaled(p)
    deficit = torch.empty_like(log_likelihood)
    lost = torch.empty_like(deficit, dtype=torch.uint8)
    out = LikelihoodOut(arguments.point(log_likelihood), arguments.point(deficit), arguments.point(lost))
    arguments.run("hsmm_log_partition", out)
    if not bool(lost.any()):
        return lost.flatten().nonzero().squeeze(1)
    harmless = (deficit < _SAFE_DEFICIT) & log_likelihood.isfinite() & _normalised(p) & (lost < 2)
    return ((lost > 0) & ~harmless).flatten().nonzero().squeeze(1)


def _with_counts(p: Potentials, log_likelihood: Tensor, pairs: Tensor) -> Tensor:
    """As above, for these pairs: only a backward pass knows whether mass that was lost would have mattered."""
    sums = _Sums.empty(p)
    doubtful = sums.add_scaled(p, None, pairs)
    log_likelihood.view(-1)[pairs] = sums.log_likelihood.view(-1)[pairs]
    return doubtful


class _Sums(results.Sums):
    """Added to by the library, of which functions answer for the sequences that others are not sure of."""

    @classmethod
    def empty(cls, p: Potentials) -> _Sums:
        r, k, d = p.n_restarts, p.n_states, p.n_durations
        law = p.residual_law() if p.log_residual is None else p.log_residual
        shapes = {
            "log_likelihood": p.of_pairs,
            "initial": (r, k),
            "transition": p.log_transition.shape,
            "duration": (r, k, d) if p.log_duration is None else p.log_duration.shape,
            "residual": (r, k, d) if law is None else law.shape,
            "tail_stay": (r, k),
            "tail_leave": (r, k),
        }
        written = {name: torch.from_numpy(np.empty(shapes.pop(name))) for name in tables_by_row(p)}
        sizes = [math.prod(shape) for shape in shapes.values()]
        zeros = torch.from_numpy(np.zeros(sum(sizes))).split(sizes)  # NumPy asks for large pages, which are had quicker
        sums = {name: zero.view(shape) for (name, shape), zero in zip(shapes.items(), zeros, strict=True)}
        return cls(state=torch.empty(p.log_emission.shape, dtype=p.log_emission.dtype), **sums, **written)

    def add_scaled(self, p: Potentials, weight: PerSeries | None, pairs: Tensor | None = None) -> Tensor:
        """Add sequences in scaled arithmetic; returns those that it may have got wrong, which are left out."""
        suffix = "f32" if p.log_emission.dtype == torch.float32 else "f64"
        doubtful = torch.zeros(p.of_pairs, dtype=torch.bool)
        self._add(f"hsmm_expected_counts_{suffix}", p, scaled(p, pairs), weight, pairs, doubtful)
        return doubtful.flatten().nonzero().squeeze(1)

    def add_in_logarithms(self, p: Potentials, weight: PerSeries | None, pairs: Tensor | None = None) -> None:
        """Add sequences in log space, where nothing goes wrong."""
        p = in_float64(p)
        self._add("hsmm_log_counts", p, in_logarithms(p, pairs), weight, pairs)

    def _add(
        self,
        function: str,
        p: Potentials,
        arguments: Arguments,
        weight: PerSeries | None,
        pairs: Tensor | None,
        doubtful: Tensor | None = None,
    ) -> None:
        state = self.state
        if state.dtype != p.log_emission.dtype:
            state = torch.empty(state.shape, dtype=p.log_emission.dtype)
        sums = {name: arguments.point(x) for name, x in vars(self).items() if name != "state"}
        out = CountsOut(
            series_weight=arguments.point(weight),
            doubtful=arguments.point(doubtful),
            state=arguments.point(state),
            **sums,
        )
        arguments.run(function, out)
        if state is not self.state:
            self.keep_states(state, _rows(p, pairs))

    def posterior(self, p: Potentials) -> Posterior:
        made = super().posterior(p)
        by_series = p.log_residual is None and made.residual.ndim == 4
        return replace(made, residual=made.residual.sum(1)) if by_series else made


def _rows(p: Potentials, pairs: Tensor | None) -> Tensor:
    """(R, N) whether a row belongs to one of the pairs."""
    belongs = torch.full(p.of_pairs, pairs is None)
    if pairs is not None:
        belongs.view(-1)[pairs] = True
    return belongs.repeat_interleave(p.lengths, dim=1)


def _normalised(p: Potentials) -> Tensor:
    """(R, S) whether no table gives out more probability than it gets; the library looks at those by row."""
    tables = [p.log_initial.unsqueeze(1), p.residual_law()]
    tables += [table for table in (p.log_transition, p.log_duration) if table is not None and table.ndim == 3]
    of_all = [~_gives_more(table, 1) for table in tables if table is not None]
    found = p.by_pair(torch.stack(of_all).all(0)).expand(p.of_pairs)
    for table, of_row in ((p.log_transition, p.transition_of_row), (p.log_duration, p.duration_of_row)):
        if table is not None and of_row is not None:
            found = found & (most_by_series(p, _gives_more(table, 2).to(torch.uint8), of_row) == 0)
    return found


def _gives_more(table: Tensor, n_axes: int) -> Tensor:
    """Whether a law sums to more than 1, of each of the tables along the first axes."""
    return (table.logsumexp(-1) >= 1e-6).flatten(n_axes).any(-1)
