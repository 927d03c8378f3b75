"""Forward-backward: the log-likelihood and the expected counts, in memory O(N·K)."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.kernels.reference.chain import Chain
from hsmm.kernels.results import Posterior, with_tables_by_row
from hsmm.numerics import log_matrix_vector, logsumexp, ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import PerSeries


@with_tables_by_row
def log_partition(p: Potentials) -> PerSeries:
    return _Forward(Chain(p)).log_likelihood


@with_tables_by_row
def expected_counts(p: Potentials, series_weight: PerSeries | None = None) -> Posterior:
    return _Backward(_Forward(Chain(p)), series_weight).posterior()


class _Forward:
    """What the backward pass needs of the forward pass, by row."""

    def __init__(self, chain: Chain) -> None:
        p = chain.p
        self.chain = chain
        self.started = torch.full_like(p.log_emission, -torch.inf)
        self.ended = torch.empty_like(p.log_emission)
        self.in_last_slot = torch.empty_like(p.log_emission)
        self.log_density = torch.empty_like(p.log_emission[..., 0])
        self.final = p.log_emission.new_empty(p.n_restarts, p.n_series, p.n_states, p.n_durations)
        self.log_likelihood = p.log_emission.new_zeros(p.n_restarts, p.n_series)
        for step in chain.forward():
            rows, active = step.rows, len(step.rows)
            under_way = chain.left_censored[: len(rows), None] & (step.t == 0)
            self.started[:, rows] = step.started.masked_fill(under_way, -torch.inf)
            self.ended[:, rows] = step.ended
            self.in_last_slot[:, rows] = step.filtered[..., -1]
            self.log_density[:, rows] = step.log_density
            self.final[:, :active] = step.filtered
            self.log_likelihood[:, chain.order[:active]] += step.log_density
        self._close_segments()

    def _close_segments(self) -> None:
        """Where the last segment must end with the series, condition on that it does."""
        ends = ~self.chain.right_censored & (self.chain.p.log_duration is not None)
        self.log_ending = torch.where(ends, logsumexp(self.chain.ending(self.final)), 0.0)
        self.log_likelihood[:, self.chain.order] += self.log_ending


class _Backward:
    """Values B_t(k, r) = log p(y after t | z_t = k, r steps left) - Σ log-densities after t, from the last row back."""

    def __init__(self, forward: _Forward, series_weight: PerSeries | None) -> None:
        self.forward, self.chain, self.p = forward, forward.chain, forward.chain.p
        p, order = self.p, self.chain.order
        possible = ~forward.log_likelihood[:, order].isneginf()
        weight = possible.to(p.log_emission.dtype)
        self.weight = weight if series_weight is None else weight * series_weight[:, order].to(weight)
        self.possible = possible
        r, k, d = p.n_restarts, p.n_states, p.n_durations
        self.state = torch.zeros_like(p.log_emission)
        self.initial = p.log_emission.new_zeros(r, k)
        self.transition = torch.zeros_like(p.log_transition)
        self.duration = (
            p.log_emission.new_zeros(r, k, d) if p.log_duration is None else torch.zeros_like(p.log_duration)
        )
        self.residual = (
            p.log_emission.new_zeros(r, k, d) if p.log_residual is None else torch.zeros_like(p.log_residual)
        )
        self.tail_stay = p.log_emission.new_zeros(r, k)
        self.tail_leave = p.log_emission.new_zeros(r, k)
        self._run()

    def posterior(self) -> Posterior:
        return Posterior(
            self.forward.log_likelihood, self.state, self.initial, self.transition, self.duration,
            self.residual, self.tail_stay, self.tail_leave,
        )  # fmt: skip

    def _run(self) -> None:
        p, chain, forward = self.p, self.chain, self.forward
        shape = (p.n_restarts, 0, p.n_states)
        value = p.log_emission.new_empty(*shape, p.n_durations)
        starting = marginal = start_count = p.log_emission.new_empty(shape)
        relative = p.log_emission.new_empty(shape)
        for t in range(chain.n_steps - 1, -1, -1):
            rows = chain.rows(t)
            running, active = value.shape[1], len(rows)
            continued = relative.unsqueeze(-1) + value
            after_end = self._value_after_end(rows[:running], starting, active)
            self._count_tail(rows, running, continued, after_end)
            value = torch.cat(
                [
                    chain.recede(continued, after_end[:, :running]),
                    self._last_value(after_end, running, active),
                ],
                1,
            )
            ended = forward.ended[:, rows]
            if running:
                joint = ended[:, :running, :, None] + chain.transition_into(rows[:running] + 1) + starting.unsqueeze(-2)
                self._add(self.transition, rows[:running], joint)
                ending = (ended + after_end)[:, :running].clamp(max=0.0).exp()
                marginal = marginal - start_count + ending
            newly_last = ordered_sum((forward.final[:, running:active] + value[:, running:]).clamp(max=0.0).exp())
            marginal = torch.cat([marginal, newly_last], 1)
            relative = p.log_emission[:, rows] - self._finite_density(rows)[..., None]
            weighted = chain.duration_at(rows) + relative.unsqueeze(-1) + value
            starting = logsumexp(weighted)
            started = forward.started[:, rows]
            self._add(self.duration, rows, started.unsqueeze(-1) + weighted)
            start_count = (started + starting).clamp(max=0.0).exp()
            self.state[:, rows] = self._weighed(marginal.clamp(0.0, 1.0))
        self._count_first(start_count, relative, value)

    def _finite_density(self, rows: Tensor) -> Tensor:
        density = self.forward.log_density[:, rows]
        return torch.where(density.isneginf(), 0.0, density)

    def _weighed(self, counts: Tensor) -> Tensor:
        """Multiply (R, A, ...) by the series' weights; series that are impossible count nothing."""
        shape = (*counts.shape[:2], *(1,) * (counts.ndim - 2))
        active = counts.shape[1]
        counts = torch.where(self.possible[:, :active].view(shape), counts, 0.0)
        return counts * self.weight[:, :active].view(shape)

    def _add(self, counts: Tensor, rows: Tensor, log_counts: Tensor) -> None:
        """Add (R, A, K, ·) to a table of counts: by row where it has rows, else summed over series."""
        weighed = self._weighed(log_counts.clamp(max=0.0).exp())
        if counts.ndim == 4:
            counts[:, rows] = weighed
        else:
            counts += weighed.sum(1)

    def _value_after_end(self, rows: Tensor, starting: Tensor, active: int) -> Tensor:
        """(R, A, K) value of the future for a segment that ends now."""
        running = len(rows)
        moving = log_matrix_vector(self.chain.transition_into(rows + 1), starting)
        closing = -self.forward.log_ending[:, running:active]
        closing = torch.where(closing.isposinf(), 0.0, closing)
        return torch.cat([moving, closing.unsqueeze(-1).expand(-1, -1, self.p.n_states)], 1)

    def _last_value(self, after_end: Tensor, running: int, active: int) -> Tensor:
        """(R, ·, K, D) value at a series' last row: anything may follow a censored segment, else it must end."""
        must_end = torch.full_like(self.forward.final[:, running:active], -torch.inf)
        closing = after_end[:, running:active]
        must_end[..., 0] = closing if self.p.n_durations > 1 else self.chain.ending(closing.unsqueeze(-1))
        free = self.chain.right_censored[running:active, None, None]
        if self.p.log_duration is None:
            free = torch.ones_like(free)
        return torch.where(free, 0.0, must_end)

    def _count_tail(self, rows: Tensor, running: int, continued: Tensor, after_end: Tensor) -> None:
        stay, leave = self.chain.stay, self.chain.leave
        if stay is None or leave is None:
            return
        in_tail = self.forward.in_last_slot[:, rows]
        one_step = self.p.n_durations == 1
        stayed = in_tail[:, :running] + stay + continued[..., -1]
        left = in_tail[:, :running] + leave + (after_end[:, :running] if one_step else continued[..., -2])
        self.tail_stay += self._weighed(stayed.clamp(max=0.0).exp()).sum(1)
        left = left.clamp(max=0.0).exp()
        if one_step:
            closing = (in_tail + leave + after_end)[:, running:].clamp(max=0.0).exp()
            censored = self.chain.right_censored[running : len(rows), None]
            left = torch.cat([left, torch.where(censored, 0.0, closing)], 1)
        self.tail_leave += self._weighed(left).sum(1)

    def _count_first(self, start_count: Tensor, relative: Tensor, value: Tensor) -> None:
        left = self.chain.left_censored[:, None]
        first = start_count
        if bool(left.any()):
            law = self.p.log_initial[:, None, :, None] + self.chain.first_law()
            residual = torch.where(left[..., None], (law + relative.unsqueeze(-1) + value).clamp(max=0.0).exp(), 0.0)
            residual_counts = self._weighed(residual)
            if self.residual.ndim == 4:
                self.residual[:, self.chain.order] = residual_counts
            else:
                self.residual += residual_counts.sum(1)
            first = torch.where(left, ordered_sum(residual), first)
        self.initial += self._weighed(first).sum(1)
