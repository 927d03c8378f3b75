"""The Markov chain of (state, steps left) and its forward pass."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.numerics import log_one_minus_exp, log_vector_matrix, logaddexp, logsumexp
from hsmm.potentials import Potentials, equilibrium_residual


@dataclass(frozen=True, eq=False)
class Step:
    """The forward pass at row t of the A series that are that long; K states, D durations.

    - ``rows`` (A,): their rows in the packed tables
    - ``started`` (R, A, K): log P(a segment of k starts at t | y before t); -inf where a left-censored one is under way
    - ``filtered`` (R, A, K, D): log P(z_t = k, steps left = d | y up to t)
    - ``ended`` (R, A, K): log P(a segment of k ends at t | y up to t)
    - ``log_density`` (R, A): log p(y_t | y before t)
    """

    t: int
    rows: Tensor
    started: Tensor
    filtered: Tensor
    ended: Tensor
    log_density: Tensor


class Chain:
    """Tables of the series side by side, longest first: those still running at step t are a prefix."""

    def __init__(self, p: Potentials) -> None:
        self.p = p
        lengths, self.order = p.lengths.sort(descending=True, stable=True)
        self.starts = p.offsets[:-1][self.order]
        self._negated_lengths = (-lengths).tolist()
        self.left_censored = p.censored("left")[self.order]
        self.right_censored = p.censored("right")[self.order]
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
        if not bool(self.left_censored.any()):
            return torch.zeros_like(self.duration_at(self.starts))
        if self.p.log_residual is not None:
            law = self.p.log_residual
            return law[:, None] if law.ndim == 3 else law[:, self.order]
        return equilibrium_residual(self.duration_at(self.starts), self.stay)

    def advance(self, steps_left: Tensor) -> Tensor:
        """Move (R, A, K, D) one step on without a new segment: steps left fall by one, or stay in the tail slot."""
        gone = steps_left[..., 1:-1]
        last = steps_left[..., -1:]
        if self.stay is None or self.leave is None:
            return torch.cat([steps_left[..., 1:], torch.full_like(last, -torch.inf)], -1)
        left = last + self.leave.unsqueeze(-1)
        return torch.cat([gone, *([left] if steps_left.shape[-1] > 1 else []), last + self.stay.unsqueeze(-1)], -1)

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
            if t == 0:
                entering = p.log_initial[:, None].expand(-1, len(rows), -1)
                started = entering.masked_fill(self.left_censored[:, None], -torch.inf)
                law = self.duration_at(rows)
                if self.left_censored.any():
                    law = torch.where(self.left_censored[:, None, None], self.first_law(), law)
                predicted = entering.unsqueeze(-1) + law
            else:
                active = len(rows)
                started = log_vector_matrix(ended[:, :active], self.transition_into(rows))
                predicted = logaddexp(
                    self.advance(steps_left[:, :active]), started.unsqueeze(-1) + self.duration_at(rows)
                )
            joint = predicted + p.log_emission[:, rows].unsqueeze(-1)
            log_density = logsumexp(joint.flatten(-2))
            steps_left = joint - _finite(log_density)[..., None, None]
            ended = self.ending(steps_left)
            yield Step(t, rows, started, steps_left, ended, log_density)


def _finite(x: Tensor) -> Tensor:
    return torch.where(x.isneginf(), 0.0, x)
