"""Log-likelihood and expected counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm.kernels import reference, results
from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.inputs import in_float64, linear_tables, longest_first, plan_of, shared_arguments
from hsmm.kernels.gpu.plans import Plan
from hsmm.kernels.results import Posterior
from hsmm.numerics import ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import PerSeries


def log_partition(p: Potentials) -> PerSeries:
    return expected_counts(p).log_likelihood


def expected_counts(p: Potentials, series_weight: PerSeries | None = None) -> Posterior:
    p = p.detach()
    plan = plan_of(p, paths=False)
    if plan is None:
        return reference.expected_counts(p, series_weight)
    if p.n_restarts > 1 and _scratch_bytes(plan, p) > launch.free_bytes(p.log_emission.device):
        return _in_halves(p, series_weight)
    sums = Sums.empty(p)
    weight = torch.ones_like(sums.log_likelihood) if series_weight is None else series_weight.detach().double()
    doubtful = sums.add_scaled(p, weight, longest_first(p))
    if p.log_emission.dtype == torch.float32 and len(doubtful):
        doubtful = sums.add_scaled(in_float64(p), weight, doubtful)
    if len(doubtful):
        sums.add_in_logarithms(in_float64(p), weight, doubtful)
    return sums.posterior(p)


def _scratch_bytes(plan: Plan, p: Potentials) -> int:
    """Memory that the passes take besides what they are given, at most, in float64 too if that is needed."""
    by_row = p.n_rows * p.n_states * (plan.columns + 1)
    by_series = p.n_series * (p.n_states * (p.n_states + 6) + 4 * plan.residuals * plan.lanes)
    return 8 * p.n_restarts * (by_row + by_series)


def _in_halves(p: Potentials, series_weight: PerSeries | None) -> Posterior:
    """Some restarts after the others; each has the bits that it has among all."""
    parts = []
    for restarts in torch.arange(p.n_restarts, device=p.log_emission.device).split(-(-p.n_restarts // 2)):
        weight = None if series_weight is None else series_weight[restarts]
        parts.append(expected_counts(p.take(restarts), weight))
    return Posterior(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})


class Sums(results.Sums):
    """Added to by the kernels of a plan, and by the reference where these are not sure."""

    @classmethod
    def empty(cls, p: Potentials) -> Sums:
        r, s, k, d = p.n_restarts, p.n_series, p.n_states, p.n_durations
        residual = (r, s, k, d) if p.log_residual is not None and p.log_residual.ndim == 4 else (r, k, d)
        shapes = ((r, s), (r, k), (r, k, k), (r, k, d), residual, (r, k), (r, k))
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
        found = _Found.of(plan, p, weight, pairs, state)
        is_doubtful = found.doubtful[pairs].bool()
        doubtful = pairs[is_doubtful]
        if len(doubtful) or len(pairs) < weight.numel():
            sure = torch.zeros(weight.numel(), dtype=torch.bool, device=state.device)
            sure[pairs] = ~is_doubtful
            found.keep(sure)
        else:
            sure = torch.ones(weight.numel(), dtype=torch.bool, device=state.device)
        self.log_likelihood.add_(found.log_likelihood.where(sure, 0.0).view_as(weight))
        if state is not self.state:
            self.keep_states(state, sure.view_as(weight)[:, p.series_of_row])
        self._add(plan, found, weight)
        return doubtful

    def _add(self, plan: Plan, found: _Found, weight: Tensor) -> None:
        weighed = found.counts.view(*weight.shape, -1) * weight.unsqueeze(-1)
        totals = found.split(ordered_sum(weighed, 1))
        self.initial.add_(totals["initial"])
        self.transition.add_(totals["transition"].view_as(self.transition))
        self.duration.add_(_by_duration(plan, totals["duration"]))
        self.tail_stay.add_(totals["stay"])
        self.tail_leave.add_(totals["leave"])
        residual = totals["residual"] if self.residual.ndim == 3 else found.split(weighed)["residual"]
        if residual.numel():
            self.residual.add_(_by_duration(plan, residual))

    def add_in_logarithms(self, p: Potentials, weight: Tensor, pairs: Tensor) -> None:
        """Add sequences in log space, where nothing goes wrong."""
        for restart, series in _by_restart(p, pairs):
            part, rows = part_of(p, restart, series)
            counts = reference.expected_counts(part, weight[restart : restart + 1, series])
            self.log_likelihood[restart, series] = counts.log_likelihood[0]
            self.state[restart, rows] = counts.state[0].to(self.state.dtype)
            for name in ("initial", "transition", "duration", "tail_stay", "tail_leave"):
                getattr(self, name)[restart] += getattr(counts, name)[0]
            if self.residual.ndim == 4:
                self.residual[restart, series] += counts.residual[0]
            else:
                self.residual[restart] += counts.residual[0]


@dataclass(frozen=True, eq=False)
class _Found:
    """What the kernels write, by sequence (R * S,); durations in the order of the lanes."""

    log_likelihood: Tensor
    doubtful: Tensor
    counts: Tensor
    sizes: dict[str, int]

    @classmethod
    def of(cls, plan: Plan, p: Potentials, weight: Tensor, pairs: Tensor, state: Tensor) -> _Found:
        """Run the forward and the backward pass on these sequences; writes the rows of ``state``."""
        n, k, device = p.n_restarts * p.n_series, p.n_states, state.device
        tables = linear_tables(p)
        lanes = plan.residuals * plan.lanes
        has_residual = tables["residual"] is not None
        sizes = {"initial": k, "transition": k * k, "duration": lanes, "residual": lanes * has_residual}
        sizes |= {"stay": k, "leave": k}
        found = cls(
            log_likelihood=torch.zeros(n, dtype=torch.float64, device=device),
            doubtful=torch.zeros(n, dtype=torch.uint8, device=device),
            counts=torch.zeros(n, sum(sizes.values()), dtype=torch.float64, device=device),
            sizes=sizes,
        )

        def scratch(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=state.dtype, device=device)

        arguments: list[launch.Argument] = [
            *shared_arguments(p, tables, pairs, open_end=True),
            scratch(p.n_restarts, p.n_rows, plan.columns, k),
            scratch(n, 2, k),
            found.log_likelihood,
            found.doubtful,
            weight.to(state.dtype).contiguous(),
            state,
            *found.split(found.counts).values(),
            found.counts.shape[1],
        ]
        for entry in ("hsmm_forward", "hsmm_backward"):
            launch.run(plan, entry, len(pairs), arguments)
        return found

    def split(self, counts: Tensor) -> dict[str, Tensor]:
        """(..., all counts) by name."""
        return dict(zip(self.sizes, counts.split(list(self.sizes.values()), -1), strict=True))

    def keep(self, which: Tensor) -> None:
        """Forget the counts of all other sequences."""
        self.counts.masked_fill_(~which.unsqueeze(-1), 0.0)


def _by_duration(plan: Plan, counts: Tensor) -> Tensor:
    """(..., residuals * slices * K) as lanes keep them → (..., K, D)."""
    k = plan.n_states
    table = counts.unflatten(-1, (plan.residuals, plan.slices, k)).movedim(-3, -1).transpose(-3, -2)
    return table.flatten(-2)[..., : plan.n_durations]


def _by_restart(p: Potentials, pairs: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The series of these pairs, restart by restart."""
    restart = pairs // p.n_series
    for r in restart.unique().tolist():
        yield r, (pairs[restart == r] % p.n_series).sort().values


def part_of(p: Potentials, restart: int, series: Tensor) -> tuple[Potentials, Tensor]:
    """These series under one model, and the rows they come from."""
    chosen = torch.zeros(p.n_series, dtype=torch.bool, device=series.device)
    chosen[series] = True
    rows = chosen[p.series_of_row].nonzero().squeeze(1)
    offsets = torch.nn.functional.pad(p.lengths[series].cumsum(0), (1, 0))

    def cut(name: str, table: Tensor) -> Tensor:
        table = table[restart : restart + 1]
        if name == "log_emission":
            return table[:, rows]
        return table[:, series] if name == "log_residual" and table.ndim == 4 else table

    flags = {side: p.censored(side)[series] for side in ("left", "right")} if p.log_duration is not None else {}
    return replace(
        p,
        **{name: cut(name, table) for name, table in p.tables().items()},
        offsets=offsets,
        **{f"{side}_censored": flag for side, flag in flags.items()},
    ), rows
