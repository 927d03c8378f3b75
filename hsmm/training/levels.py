"""Starts for rows of a few tight groups: which of them share a state, the likeliest partitions first."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from hsmm.sequences import Sequences

_MOST = 6
_GAP = 0.05  # in standard deviations: more lies between the values of two groups, less between those of one
_FLOOR = 1e-6
_ROWS_EACH = 3  # on average


class Levels:
    """The tight groups of standardised ``points`` (N, P), and how they might be shared by ``n_states``.

    States are normal, or, where ``least_dof`` is given, have a Student-t law of so many degrees of freedom.
    """

    def __init__(self, points: Tensor, sequences: Sequences, n_states: int, least_dof: float | None = None) -> None:
        seen = sequences.observed.any(1).cpu()
        group = torch.zeros(len(points), dtype=torch.int64)
        group[seen] = _groups(points[seen])
        self._points, self._sequences, self._n_states = points, sequences, n_states
        self._seen, self._group, self._least_dof = seen, group, least_dof

    @property
    def n_groups(self) -> int:
        return int(self._group.max()) + 1

    @property
    def is_usable(self) -> bool:
        """Whether the groups are tight, as many as states, and few enough that all partitions can be compared."""
        enough = int(self._seen.sum()) >= _ROWS_EACH * self.n_groups
        if not enough or not max(self._n_states, 2) <= self.n_groups <= _MOST or self._n_states < 2:
            return False
        groups = [self._points[self._seen & (self._group == number)] for number in range(self.n_groups)]
        return all(bool((group.amax(0) - group.amin(0) < _GAP).all()) for group in groups)

    def labels(self, turn: int) -> Tensor:
        """(N,) the state of each row in the partition that is so likely."""
        ranked = self._ranked
        return ranked[turn % len(ranked)][self._group]

    @cached_property
    def _ranked(self) -> Tensor:
        """(Q, L) the state of each group, by the likelihood of states that follow each other as they do then."""
        shares = partitions(self.n_groups, self._n_states)
        member = torch.nn.functional.one_hot(shares, self._n_states).to(self._points.dtype)
        own = torch.nn.functional.one_hot(self._group, self.n_groups).to(self._points.dtype) * self._seen[:, None]
        moves = successions(own, self._sequences)
        size, total, square = (
            torch.einsum("qlk,lp->qkp", member, own.mT @ x)
            for x in (torch.ones_like(self._points), self._points, self._points.square())
        )
        variance = (square / size - (total / size).square()).clamp(min=0.0)
        counts = torch.einsum("qlk,lm,qmj->qkj", member, moves, member)
        likelihood = torch.xlogy(counts, counts / counts.sum(-1, keepdim=True).clamp(min=1.0)).sum((-1, -2))
        spread = 0.5 * (size * (variance + _FLOOR).log()).sum(-1)
        if self._least_dof is not None:
            spread = torch.minimum(spread, self._heavy(member, own, self._least_dof))
        return shares[(spread.sum(-1) - likelihood).argsort(stable=True)]

    def _heavy(self, member: Tensor, own: Tensor, dof: float) -> Tensor:
        """(Q, K) minus the likelihood of states (Q, L, K) on their largest group, with the others in their tails; less
        what a normal law's has of constants."""
        n_rows, n_points = own.sum(0), self._points.shape[1]
        centre = own.mT @ self._points / n_rows[:, None]
        within = (own.mT @ self._points.square() / n_rows[:, None] - centre.square()).clamp(min=0.0)
        scale = (within + _FLOOR).sqrt()
        away = (centre[:, None] - centre).square() + within[:, None]
        half = 0.5 * (dof + n_points)
        tail = half * torch.log1p((away / scale.square()).sum(-1) / dof)  # (of a group, about a group)
        constant = math.lgamma(half) - math.lgamma(0.5 * dof) - 0.5 * n_points * math.log(dof * math.pi)
        constant += 0.5 * n_points * (math.log(2.0 * math.pi) + 1.0)
        largest = (member * n_rows[:, None]).argmax(1)
        size = torch.einsum("qlk,l->qk", member, n_rows)
        tails = torch.einsum("qlk,l,qkl->qk", member, n_rows, tail.mT[largest])
        return size * (scale.log().sum(-1)[largest] - constant) + tails


def successions(weights: Tensor, sequences: Sequences) -> Tensor:
    """(..., K, K) how often a row of one state or group (..., N, K) is followed by one of another in its series."""
    after = weights.roll(-1, -2)
    after[..., (sequences.offsets[1:] - 1).to(after.device), :] = 0.0
    return weights.mT @ after


def partitions(n_groups: int, n_states: int) -> Tensor:
    """(Q, n_groups) every way to share groups among states of which none is empty, states numbered as they appear."""
    ways = [[0]]
    for _ in range(n_groups - 1):
        ways = [[*way, state] for way in ways for state in range(min(max(way) + 2, n_states))]
    return torch.tensor([way for way in ways if max(way) == n_states - 1])


def _groups(points: Tensor) -> Tensor:
    """(N,) numbers of the groups: rows that no gap along any axis tells apart."""
    group = torch.zeros(len(points), dtype=torch.int64)
    for column in points.T:
        ordered, order = column.sort()
        along = torch.empty_like(group)
        along[order] = torch.cat([group.new_zeros(1), (ordered.diff() > _GAP).cumsum(0)])
        group = torch.unique(group * (int(along.max()) + 1) + along, return_inverse=True)[1]
    return group
