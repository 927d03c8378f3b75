"""Open segments by their age: elapsed time and the most probable segments."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hsmm.kernels.reference.chain import Chain
from hsmm.kernels.results import Decoded
from hsmm.numerics import log_survival, logaddexp, ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import DurationSeries


def elapsed(p: Potentials) -> DurationSeries:
    chain = Chain(p)
    segments = _OpenSegments(chain, logaddexp)
    result = p.log_emission.new_empty(p.n_restarts, p.n_rows, p.n_durations)
    for step in chain.forward():
        density = torch.where(step.log_density.isneginf(), 0.0, step.log_density)
        segments.advance(step.rows, step.started, p.log_emission[:, step.rows] - density[..., None])
        by_age = segments.weighed(ended=False).exp()
        age, first = by_age[..., :-1], by_age[..., -1]
        age[..., min(step.t, p.n_durations - 1)] += first
        result[:, step.rows] = ordered_sum(age, 2)
    return result


def viterbi(p: Potentials) -> Decoded:
    return _MostProbable(Chain(p)).decoded()


class _OpenSegments:
    """Log-weights of the segments under way at step t.

    ``by_age`` (R, A, K, D): column e - 1 holds those that started e steps ago (this one counted), before the law of
    their duration is applied; with a tail the last column holds all that entered the tail slot, its P(d >= D) and its
    stays applied, and ``tail_age`` their ages. ``first`` (R, A, K) holds left-censored first segments.
    """

    def __init__(self, chain: Chain, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        p = chain.p
        self.chain, self.p, self.combine = chain, p, combine
        self.t = -1
        self.rows = chain.starts
        shape = (p.n_restarts, p.n_series, p.n_states)
        self.by_age = p.log_emission.new_full((*shape, p.n_durations), -torch.inf)
        self.tail_age = torch.ones(shape, dtype=torch.int64, device=p.log_emission.device)
        self.first = p.log_initial[:, None].expand(shape).masked_fill(~chain.left_censored[:, None], -torch.inf)
        self.first_law = chain.first_law()

    def advance(self, rows: Tensor, started: Tensor, log_emission: Tensor) -> None:
        """Age every open segment by one row, with new ones ``started`` (R, A, K)."""
        active = len(rows)
        previous = self.by_age[:, :active]
        self.t += 1
        self.rows = rows
        by_age = torch.cat([started.unsqueeze(-1), previous[..., :-1]], -1)
        if self.chain.stay is not None:
            entering = by_age[..., -1] + self._law_by_age(self.chain.p.log_duration)[..., -1]
            staying = previous[..., -1] + self.chain.stay
            grown = self.tail_age[:, :active] + 1
            self.tail_age = torch.where(staying > entering, grown, torch.full_like(grown, self.p.n_durations))
            by_age = torch.cat([by_age[..., :-1], self.combine(entering, staying).unsqueeze(-1)], -1)
        self.by_age = by_age + log_emission.unsqueeze(-1)
        self.first = self.first[:, :active] + log_emission

    def weighed(self, *, ended: bool) -> Tensor:
        """(R, A, K, D + 1) by age, first segments last: ended with this row, or still open."""
        table = self.p.log_duration
        if table is not None and not ended:
            table = log_survival(table)
        law = self._law_by_age(table)
        if self.chain.leave is not None:
            closing = self.chain.leave if ended else torch.zeros_like(self.chain.leave)
            law = torch.cat([law[..., :-1], closing.expand(law.shape[:-1]).unsqueeze(-1)], -1)
        return torch.cat([self.by_age + law, (self.first + self._law_of_first(ended=ended)).unsqueeze(-1)], -1)

    def _law_by_age(self, table: Tensor | None) -> Tensor:
        """(R, A or 1, K, D) a duration table read, for each age, at the row where such a segment started."""
        if table is None:
            return self.p.log_emission.new_zeros(1, 1, 1, 1)
        if table.ndim == 3:
            return table[:, None]
        ages = torch.arange(self.p.n_durations, device=table.device)
        origin = torch.maximum(self.rows[:, None] - ages, (self.rows - self.t)[:, None])
        return table[:, origin, :, ages].permute(2, 0, 3, 1)

    def _law_of_first(self, *, ended: bool) -> Tensor:
        """(R, A or 1, K) law of a left-censored first segment of t + 1 visible steps."""
        active, last = len(self.rows), self.p.n_durations - 1
        law = self.first_law[:, : min(active, self.first_law.shape[1])]
        beyond = self.t - last
        if self.chain.stay is not None and self.chain.leave is not None and beyond >= 0:
            stays = beyond * self.chain.stay if beyond else 0.0
            return law[..., -1] + stays + (self.chain.leave if ended else 0.0)
        if beyond > 0:
            return torch.full_like(law[..., 0], -torch.inf)
        return law[..., self.t] if ended else log_survival(law)[..., self.t]


class _MostProbable:
    """Max-plus over segments; for every row and state the best segment ending there and the best state before it."""

    def __init__(self, chain: Chain) -> None:
        p = chain.p
        self.chain, self.p = chain, p
        shape = (p.n_restarts, p.n_rows, p.n_states)
        device = p.log_emission.device
        self.length = torch.zeros(shape, dtype=torch.int64, device=device)
        self.before = torch.zeros(shape, dtype=torch.int64, device=device)
        per_series = (p.n_restarts, p.n_series)
        self.score = p.log_emission.new_empty(per_series)
        self.last_state = torch.zeros(per_series, dtype=torch.int64, device=device)
        self.last_length = torch.zeros(per_series, dtype=torch.int64, device=device)
        self._run()

    def _run(self) -> None:
        p, chain = self.p, self.chain
        segments = _OpenSegments(chain, torch.maximum)
        ended = p.log_emission.new_empty(0)
        for t in range(chain.n_steps):
            rows = chain.rows(t)
            active = len(rows)
            if t == 0:
                started = p.log_initial[:, None].expand(-1, active, -1)
                started = started.masked_fill(chain.left_censored[:, None], -torch.inf)
            else:
                joint = ended[:, :active, :, None] + chain.transition_into(rows)
                started, self.before[:, rows] = joint.max(-2)
            segments.advance(rows, started, p.log_emission[:, rows])
            ended, self.length[:, rows] = self._best_age(segments, segments.weighed(ended=True))
            stopping = slice(chain.active(t + 1), active)
            if stopping.start < active:
                self._finish(segments, ended, rows, stopping)

    def _best_age(self, segments: _OpenSegments, weighed: Tensor) -> tuple[Tensor, Tensor]:
        """(R, A, K) best weight over ages, and the age."""
        best, column = weighed.max(-1)
        age = column + 1
        if segments.chain.stay is not None:
            age = torch.where(column == self.p.n_durations - 1, segments.tail_age, age)
        return best, torch.where(column == self.p.n_durations, segments.t + 1, age)

    def _finish(self, segments: _OpenSegments, ended: Tensor, rows: Tensor, stopping: slice) -> None:
        still_open, open_length = self._best_age(segments, segments.weighed(ended=False))
        free = self.chain.right_censored[stopping, None]
        weight = torch.where(free, still_open[:, stopping], ended[:, stopping])
        length = torch.where(free, open_length[:, stopping], self.length[:, rows[stopping]])
        self.score[:, stopping], self.last_state[:, stopping] = weight.max(-1)
        self.last_length[:, stopping] = length.gather(-1, self.last_state[:, stopping, None]).squeeze(-1)

    def decoded(self) -> Decoded:
        p, chain = self.p, self.chain
        states = torch.full((p.n_restarts, p.n_rows), -1, dtype=torch.int64, device=p.log_emission.device)
        state, left = self.last_state, self.last_length
        for t in range(chain.n_steps - 1, -1, -1):
            rows = chain.rows(t)
            active = len(rows)
            states[:, rows] = state[:, :active]
            left = torch.cat([left[:, :active] - 1, left[:, active:]], 1)
            if t:
                previous = self.before[:, rows].gather(-1, state[:, :active, None]).squeeze(-1)
                moved = torch.where(left[:, :active] == 0, previous, state[:, :active])
                length = self.length[:, rows - 1].gather(-1, moved[..., None]).squeeze(-1)
                left = torch.cat([torch.where(left[:, :active] == 0, length, left[:, :active]), left[:, active:]], 1)
                state = torch.cat([moved, state[:, active:]], 1)
        score = torch.empty_like(self.score)
        score[:, chain.order] = self.score
        impossible = score.isneginf().repeat_interleave(p.lengths, dim=1)
        return Decoded(states.masked_fill(impossible, -1), score)
