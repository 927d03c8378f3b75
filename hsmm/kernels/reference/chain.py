"""The Markov chain of (state, steps left) and its forward pass."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.kernels.results import FilterState
from hsmm.numerics import log_one_minus_exp, log_vector_matrix, logaddexp, logsumexp
from hsmm.potentials import Potentials


@dataclass(frozen=True, eq=False)
class Step:
    """The forward pass at row t of the A series that are that long; K states, D durations.

    - ``rows`` (A,): their rows in the packed tables
    - ``started`` (R, A, K): log P(a segment of k starts at t | y before t); at a series' first row also that one is
      under way, where it is left-censored
    - ``predicted`` (R, A, K, D): log P(z_t = k, steps left = d | y before t)
    - ``filtered`` (R, A, K, D): log P(z_t = k, steps left = d | y up to t)
    - ``ended`` (R, A, K): log P(a segment of k ends at t | y up to t)
    - ``log_density`` (R, A): log p(y_t | y before t)
    """

    t: int
    rows: Tensor
    started: Tensor
    predicted: Tensor
    filtered: Tensor
    ended: Tensor
    log_density: Tensor


class Chain:
    """Tables of the series side by side, longest first: those still running at step t are a prefix."""

    def __init__(self, p: Potentials, after: FilterState | None = None) -> None:
        self.p, self.after = p, after
        lengths, self.order = p.lengths.sort(descending=True, stable=True)
        self.starts = p.offsets[:-1][self.order]
        self._negated_lengths = (-lengths).tolist()
        self.left_censored = p.censored("left")[self.order]
        self.right_censored = p.censored("right")[self.order]
        self.is_cut = bool(self.left_censored.any())
        self.stay = None if p.log_tail is None else p.log_tail[:, None]
        self.leave = None if self.stay is None else log_one_minus_exp(self.stay)

    @property
    def n_steps(self) -> int:
        return -self._negated_lengths[0]

    def active(self, t: int) -> int:
        """How many series have a row t."""
        return bisect_left(self._negated_lengths, -t)

    def rows(self, t: int) -> Tensor:
        return self.starts[: self.active(t)] + t

    def transition_into(self, rows: Tensor) -> Tensor:
        """(R, A or 1, K, K) log-transitions that led to these rows."""
        table = self.p.log_transition
        return table[:, None] if table.ndim == 3 else table[:, rows - 1]

    def duration_at(self, rows: Tensor) -> Tensor:
        """(R, A or 1, K, D) log-durations of segments that start at these rows."""
        table = self.p.log_duration
        if table is None:
            return self.p.log_emission.new_zeros(self.p.n_restarts, 1, self.p.n_states, 1)
        return table[:, None] if table.ndim == 3 else table[:, rows]

    def first_law(self) -> Tensor:
        """(R, S or 1, K, D) law of the steps left to a left-censored first segment; zero where there is none."""
        law = self.p.residual_law()
        if law is None:
            return torch.zeros_like(self.duration_at(self.starts))
        return law[:, None] if law.ndim == 3 else law[:, self.order]

    def first_durations(self) -> Tensor:
        """(R, S or 1, K, D) law of the steps left to the first segment."""
        law = self.duration_at(self.starts)
        return torch.where(self.left_censored[:, None, None], self.first_law(), law) if self.is_cut else law

    def advance(self, steps_left: Tensor) -> Tensor:
        """Move (R, A, K, D) one step on without a new segment: steps left fall by one, or stay in the tail slot."""
        gone = steps_left[..., 1:-1]
        last = steps_left[..., -1:]
        if self.stay is None or self.leave is None:
            return torch.cat([steps_left[..., 1:], torch.full_like(last, -torch.inf)], -1)
        left = last + self.leave.unsqueeze(-1)
        return torch.cat([gone, *([left] if steps_left.shape[-1] > 1 else []), last + self.stay.unsqueeze(-1)], -1)

    def recede(self, continued: Tensor, after_end: Tensor) -> Tensor:
        """The mirror of ``advance``: (R, A, K, D) value of each slot at t, given those reached from it at t + 1.

        ``after_end`` (R, A, K) is the value for a segment that ends at t.
        """
        if self.stay is None or self.leave is None:
            return torch.cat([after_end.unsqueeze(-1), continued[..., :-1]], -1)
        n_durations = continued.shape[-1]
        one_less = continued[..., -2] if n_durations > 1 else after_end
        tail = logaddexp(self.stay + continued[..., -1], self.leave + one_less)
        if n_durations == 1:
            return tail.unsqueeze(-1)
        return torch.cat([after_end.unsqueeze(-1), continued[..., :-2], tail.unsqueeze(-1)], -1)

    def ending(self, steps_left: Tensor) -> Tensor:
        """(R, A, K) the part of (R, A, K, D) that ends with this step."""
        if self.leave is not None and steps_left.shape[-1] == 1:
            return steps_left[..., 0] + self.leave
        return steps_left[..., 0]

    def forward(self) -> Iterator[Step]:
        p = self.p
        steps_left = ended = p.log_emission.new_empty(0)
        for t in range(self.n_steps):
            rows = self.rows(t)
            active = len(rows)
            if t > 0:
                started = log_vector_matrix(ended[:, :active], self.transition_into(rows))
                going_on = self.advance(steps_left[:, :active])
                predicted = logaddexp(going_on, started.unsqueeze(-1) + self.duration_at(rows))
            elif self.after is None:
                started = p.log_initial[:, None].expand(-1, active, -1)
                predicted = started.unsqueeze(-1) + self.first_durations()
            else:
                started = self.after.starting[:, self.order].to(p.log_emission)
                going_on = self.advance(self.after.steps_left[:, self.order].to(p.log_emission))
                predicted = logaddexp(going_on, started.unsqueeze(-1) + self.duration_at(rows))
            joint = predicted + p.log_emission[:, rows].unsqueeze(-1)
            log_density = logsumexp(joint.flatten(-2))
            steps_left = joint - _finite(log_density)[..., None, None]
            ended = self.ending(steps_left)
            yield Step(t, rows, started, predicted, steps_left, ended, log_density)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x.isneginf(), 0.0, x)
