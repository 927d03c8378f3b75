"""Log-likelihood and expected counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.kernels import results
from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import in_float64, linear_tables, longest_first, plan_of, shared_arguments
from hsmm.kernels.gpu.plans import Plan
from hsmm.kernels.gpu.teams import ROWS_OF_TRACE, Launch
from hsmm.kernels.results import Posterior, with_tables_by_row
from hsmm.potentials import Potentials
from hsmm.types import PerSeries


@with_tables_by_row
def log_partition(p: Potentials) -> PerSeries:
    p = p.detach()
    if plan_of(p, paths=False) is not None:
        return expected_counts(p).log_likelihood
    log_likelihood = torch.empty(p.of_pairs, dtype=torch.float64, device=p.log_emission.device)
    Launch.of_all("log_backward", p).run("hsmm_log_score", log_likelihood)
    return log_likelihood.to(p.log_emission.dtype)


@with_tables_by_row
def expected_counts(p: Potentials, series_weight: PerSeries | None = None) -> Posterior:
    p = p.detach()
    plan = plan_of(p, paths=False)
    splits = p.n_restarts > 1 and p.owners is None
    if splits and _scratch_bytes(plan, p) > launch.free_bytes(p.log_emission.device):
        return _in_halves(p, series_weight)
    sums = Sums.empty(p)
    weight = torch.ones_like(sums.log_likelihood) if series_weight is None else series_weight.detach().double()
    pairs = longest_first(p)
    if plan is not None:
        pairs = sums.add_scaled(p, weight, pairs)
        if p.log_emission.dtype == torch.float32 and len(pairs):
            pairs = sums.add_scaled(in_float64(p), weight, pairs)
    if len(pairs):
        sums.add_in_logarithms(p, weight, pairs)
    return sums.posterior(p)


def _scratch_bytes(plan: Plan | None, p: Potentials) -> int:
    """Memory that the passes take besides what they are given, at most, in float64 too if that is needed."""
    k, d = p.n_states, p.n_durations
    if plan is None:
        by_row = p.n_rows * k * (1 + 2 * (k * (p.log_transition.ndim == 4) + d * (not p.is_stationary)))
        return 8 * p.n_restarts * (by_row + p.n_series * k * (k + 4 * d + 6))
    by_row = k * (p.n_rows + plan.trace(p.n_rows))
    by_series = p.n_series * (k * (k + 6) + 4 * plan.residuals * plan.lanes)
    return 8 * p.n_restarts * (by_row + by_series)


def _in_halves(p: Potentials, series_weight: PerSeries | None) -> Posterior:
    """Some restarts after the others; each has the bits that it has among all."""
    parts = []
    for restarts in torch.arange(p.n_restarts, device=p.log_emission.device).split(-(-p.n_restarts // 2)):
        weight = None if series_weight is None else series_weight[restarts]
        parts.append(expected_counts(p.take(restarts), weight))
    return Posterior(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


class Sums(results.Sums):
    """Added to in scaled arithmetic where there is a plan for it, and in log space by teams where that is not sure."""

    @classmethod
    def empty(cls, p: Potentials) -> Sums:
        r, s, k, d = p.n_restarts, p.n_series, p.n_states, p.n_durations
        duration = (r, k, d) if p.log_duration is None else p.log_duration.shape
        residual = (r, s, k, d) if p.log_residual is not None and p.log_residual.ndim == 4 else (r, k, d)
        shapes = (p.of_pairs, (r, k), p.log_transition.shape, duration, residual, (r, k), (r, k))
        likelihood, *counts = (p.log_emission.new_zeros(shape, dtype=torch.float64) for shape in shapes)
        return cls(likelihood, torch.empty_like(p.log_emission, memory_format=torch.contiguous_format), *counts)

    def add_scaled(self, p: Potentials, weight: Tensor, pairs: Tensor) -> Tensor:
        """Add sequences in scaled arithmetic; returns those that it may have got wrong, which are left out."""
        plan = plan_of(p, paths=False)
        if plan is None:
            return pairs
        state = self.state
        if state.dtype != p.log_emission.dtype:
            state = torch.empty(state.shape, dtype=p.log_emission.dtype, device=state.device)
        found = _Found.scaled(plan, p, weight, pairs, state)
        is_doubtful = found.doubtful[pairs].bool()
        doubtful = pairs[is_doubtful]
        if len(doubtful) or len(pairs) < weight.numel():
            sure = torch.zeros(weight.numel(), dtype=torch.bool, device=state.device)
            sure[pairs] = ~is_doubtful
            found.keep(sure)
        else:
            sure = torch.ones(weight.numel(), dtype=torch.bool, device=state.device)
        if state is not self.state:
            self.keep_states(state, sure.view_as(weight)[:, p.series_of_row])
        self._add(p, found, weight)
        return doubtful

    def add_in_logarithms(self, p: Potentials, weight: Tensor, pairs: Tensor) -> None:
        """Add sequences in log space, where nothing goes wrong; what is counted by row is written there."""
        self._add(p, _Found.in_logarithms(p, weight, pairs, self), weight)

    def _add(self, p: Potentials, found: _Found, weight: Tensor) -> None:
        self.log_likelihood.add_(found.log_likelihood.view_as(weight))
        weighed = found.counts.view(*weight.shape, -1) * weight.unsqueeze(-1)
        totals = found.split(_by_model(p, weighed))
        self.initial.add_(totals["initial"])
        self.tail_stay.add_(totals["stay"])
        self.tail_leave.add_(totals["leave"])
        if self.transition.ndim == 3:
            self.transition.add_(totals["transition"].view_as(self.transition))
        if self.duration.ndim == 3:
            self.duration.add_(found.by_duration(totals["duration"]))
        residual = totals["residual"] if self.residual.ndim == 3 else found.split(weighed)["residual"]
        if residual.numel():
            self.residual.add_(found.by_duration(residual))


@dataclass(frozen=True, eq=False)
class _Found:
    """What the kernels write, by sequence (R * S,); with a plan, durations are in the order of its lanes."""

    plan: Plan | None
    log_likelihood: Tensor
    doubtful: Tensor
    counts: Tensor
    sizes: dict[str, int]
    table: tuple[int, int]

    @classmethod
    def _empty(cls, plan: Plan | None, p: Potentials, **sizes: int) -> _Found:
        n, device = math.prod(p.of_pairs), p.log_emission.device
        return cls(
            plan=plan,
            log_likelihood=torch.zeros(n, dtype=torch.float64, device=device),
            doubtful=torch.zeros(n, dtype=torch.uint8, device=device),
            counts=torch.zeros(n, sum(sizes.values()), dtype=torch.float64, device=device),
            sizes=sizes,
            table=(p.n_states, p.n_durations),
        )

    @classmethod
    def scaled(cls, plan: Plan, p: Potentials, weight: Tensor, pairs: Tensor, state: Tensor) -> _Found:
        """Run the forward and the backward pass on these sequences; writes the rows of ``state``."""
        k, tables, lanes = p.n_states, linear_tables(p), plan.residuals * plan.lanes
        residual = lanes * (tables["residual"] is not None)
        sizes = {"initial": k, "transition": k * k, "duration": lanes, "residual": residual, "stay": k, "leave": k}
        found = cls._empty(plan, p, **sizes)

        def scratch(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=state.dtype, device=state.device)

        arguments: list[launch.Argument] = [
            *shared_arguments(p, tables, pairs, open_end=True),
            scratch(p.log_emission.shape[0], plan.trace(p.n_rows), k),
            scratch(weight.numel(), 2, k),
            found.log_likelihood,
            found.doubtful,
            weight.to(state.dtype).contiguous(),
            state,
            *found.split(found.counts).values(),
            found.counts.shape[1],
        ]
        for entry in ("hsmm_forward", "hsmm_backward"):
            launch.run(plan, entry, plan.grid(len(pairs)), arguments)
        return found

    @classmethod
    def in_logarithms(cls, p: Potentials, weight: Tensor, pairs: Tensor, into: Sums) -> _Found:
        """As above by teams; writes what ``into`` has by row."""
        k, cells = p.n_states, p.n_states * p.n_durations
        transition = k * k * (into.transition.ndim == 3)
        duration = cells * (into.duration.ndim == 3)
        residual = cells * bool(p.residual_law() is not None)
        sizes = {"initial": k, "transition": transition, "duration": duration, "residual": residual}
        found = cls._empty(None, p, **sizes, stay=k, leave=k)
        Launch("log_backward", p, pairs, rows=ROWS_OF_TRACE * k).run(
            "hsmm_log_counts",
            found.log_likelihood,
            weight.to(into.state.dtype).contiguous(),
            into.state,
            None if transition else into.transition,
            None if duration else into.duration,
            *found.split(found.counts).values(),
            found.counts.shape[1],
        )
        return found

    def split(self, counts: Tensor) -> dict[str, Tensor]:
        """(..., all counts) by name."""
        return dict(zip(self.sizes, counts.split(list(self.sizes.values()), -1), strict=True))

    def keep(self, which: Tensor) -> None:
        """Forget all other sequences."""
        self.counts.masked_fill_(~which.unsqueeze(-1), 0.0)
        self.log_likelihood.masked_fill_(~which, 0.0)

    def by_duration(self, counts: Tensor) -> Tensor:
        """(..., residuals * slices * K) as lanes keep them, or (..., K * D) → (..., K, D)."""
        k, d = self.table
        if self.plan is None:
            return counts.unflatten(-1, (k, d))
        table = counts.unflatten(-1, (self.plan.residuals, self.plan.slices, k)).movedim(-3, -1).transpose(-3, -2)
        return table.flatten(-2)[..., :d]


def _by_model(p: Potentials, of_pairs: Tensor) -> Tensor:
    """(R, C) sums over series of (R, S, C), or (1, S, C) where they have owners."""
    if p.owners is None:
        return _folded(of_pairs.movedim(1, 0))
    n_series = p.owners.bincount(minlength=p.n_restarts)
    order = p.owners.argsort(stable=True)
    within = torch.arange(p.n_series) - (n_series.cumsum(0) - n_series)[p.owners[order]]
    index = torch.full((p.n_restarts, int(n_series.max())), p.n_series)
    index[p.owners[order], within] = order
    nothing = of_pairs.new_zeros(1, of_pairs.shape[-1])
    return _folded(torch.cat([of_pairs[0], nothing])[index.T.to(of_pairs.device)])


def _folded(x: Tensor) -> Tensor:
    """Sum over the first axis by adding neighbours, so that zeros after the last change no bit."""
    while len(x) > 1:
        if len(x) % 2:
            x = torch.cat([x, torch.zeros_like(x[:1])])
        x = x[::2] + x[1::2]
    return x[0]
