"""Open segments by their age, and the most probable segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hsmm.kernels.reference.chain import Chain, Step
from hsmm.kernels.results import Decoded, FilterState, with_tables_by_row
from hsmm.numerics import log_survival, logaddexp
from hsmm.potentials import Potentials


def open_segments(p: Potentials, after: FilterState | None) -> Iterator[tuple[Step, OpenSegments]]:
    """The forward pass and the segments under way, step by step."""
    chain = Chain(p, after)
    segments = OpenSegments(chain, logaddexp)
    for step in chain.forward():
        density = torch.where(step.log_density.isneginf(), 0.0, step.log_density)
        segments.advance(step.rows, step.started, p.log_emission[:, step.rows] - density[..., None])
        yield step, segments


@with_tables_by_row
def viterbi(p: Potentials) -> Decoded:
    return _MostProbable(Chain(p)).decoded()


class OpenSegments:
    """Log-weights of the segments under way at step t.

    ``by_age`` (R, A, K, D): column e - 1 holds those that started e steps ago (this one counted), before the law of
    their duration is applied; with a tail the last column holds all that entered the tail slot, its P(d >= D) and its
    stays applied, and ``tail_age`` their ages.
    """

    def __init__(self, chain: Chain, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        p = chain.p
        self.chain, self.p, self.combine = chain, p, combine
        self.t = -1
        self.rows = chain.starts
        shape = (p.n_restarts, p.n_series, p.n_states)
        self.by_age = p.log_emission.new_full((*shape, p.n_durations), -torch.inf)
        self.n_before = torch.zeros_like(p.lengths)
        if chain.after is not None:
            self.by_age = chain.after.by_age[:, chain.order].to(self.by_age)
            self.n_before = chain.after.n_rows[chain.order]
        self.tail_age = torch.ones(shape, dtype=torch.int64, device=p.log_emission.device)
        self.first_law = chain.first_law()

    def advance(self, rows: Tensor, started: Tensor, log_emission: Tensor) -> None:
        """Age every open segment by one row, with new ones ``started`` (R, A, K)."""
        active = len(rows)
        previous = self.by_age[:, :active]
        self.t += 1
        self.rows = rows
        by_age = torch.cat([started.unsqueeze(-1), previous[..., :-1]], -1)
        if self.chain.stay is not None:
            entering = by_age[..., -1] + self._law_by_age(survival=False)[..., -1]
            staying = previous[..., -1] + self.chain.stay
            grown = self.tail_age[:, :active] + 1
            self.tail_age = torch.where(staying > entering, grown, torch.full_like(grown, self.p.n_durations))
            by_age = torch.cat([by_age[..., :-1], self.combine(entering, staying).unsqueeze(-1)], -1)
        self.by_age = by_age + log_emission.unsqueeze(-1)

    def weighed(self, *, ended: bool) -> Tensor:
        """(R, A, K, D) by age: ended with this row, or still open."""
        law = self._law_by_age(survival=not ended)
        if self.chain.leave is not None:
            closing = self.chain.leave if ended else torch.zeros_like(self.chain.leave)
            law = torch.cat([law[..., :-1], closing.expand(law.shape[:-1]).unsqueeze(-1)], -1)
        return self.by_age + law

    def _law_by_age(self, *, survival: bool) -> Tensor:
        """(R, A or 1, K, D) the duration table, or P(d >= n), read for each age where such a segment started."""
        table = self.p.log_duration
        if table is None:
            return self.p.log_emission.new_zeros(1, 1, 1, 1)
        table, first = (log_survival(x) if survival else x for x in (table, self.first_law))
        ages = torch.arange(self.p.n_durations, device=table.device)
        if table.ndim == 3:
            law = table[:, None]
        else:
            origin = torch.maximum(self.rows[:, None] - ages, (self.rows - self.t)[:, None])
            law = table[:, origin, :, ages].permute(2, 0, 3, 1)
        active = len(self.rows)
        is_first = ages == (self.n_before[:active] + self.t)[:, None]
        is_first &= self.chain.left_censored[:active, None]
        return torch.where(is_first[:, None], first[:, :active], law)


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
        segments = OpenSegments(chain, torch.maximum)
        ended = p.log_emission.new_empty(0)
        for t in range(chain.n_steps):
            rows = chain.rows(t)
            active = len(rows)
            if t == 0:
                started = p.log_initial[:, None].expand(-1, active, -1)
            else:
                joint = ended[:, :active, :, None] + chain.transition_into(rows)
                started, self.before[:, rows] = joint.max(-2)
            segments.advance(rows, started, p.log_emission[:, rows])
            ended, self.length[:, rows] = self._best_age(segments, segments.weighed(ended=True))
            stopping = slice(chain.active(t + 1), active)
            if stopping.start < active:
                self._finish(segments, ended, rows, stopping)

    def _best_age(self, segments: OpenSegments, weighed: Tensor) -> tuple[Tensor, Tensor]:
        """(R, A, K) best weight over ages, and the age."""
        best, column = weighed.max(-1)
        age = column + 1
        if segments.chain.stay is not None:
            age = torch.where(column == self.p.n_durations - 1, segments.tail_age, age)
        return best, age

    def _finish(self, segments: OpenSegments, ended: Tensor, rows: Tensor, stopping: slice) -> None:
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
