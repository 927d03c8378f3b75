"""Rough states from stretches of rows: neighbours in time that are alike are joined, then the stretches most alike.

A stretch of rows says where its state lies far better than a row does, so states that overlap row by row come apart;
and merging from the bottom up leaves none of many states without a centre and puts no two in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsmm.sequences import Sequences

_THRESHOLDS = (5.0, 25.0)  # what joining two stretches may cost, in standard deviations beyond its mean under chance
_JITTER = 0.3  # of the logarithm of a feature's scale
_PRIOR_ROWS = 3.0  # of the usual spread, that a stretch of few rows has one
_FEWEST_MERGED, _MERGED_A_STATE = 100, 20  # stretches that are merged; the others follow

_Array: TypeAlias = NDArray[np.float64]
_Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Pieces:
    """P sets of rows: how many, their means (P, F) and their squared deviations from these, summed (P, F)."""

    size: _Array
    mean: _Array
    deviation: _Array

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> _Pieces:
        return _Pieces(self.size[which], self.mean[which], self.deviation[which])

    def joined(self, other: _Pieces) -> _Pieces:
        """Each with the other's, or all with one."""
        size = self.size + other.size
        share = (other.size / size)[:, None]
        gap = other.mean - self.mean
        deviation = self.deviation + other.deviation + self.size[:, None] * share * gap**2
        return _Pieces(size, self.mean + share * gap, deviation)

    def spread(self) -> _Array:
        """(P,) rows times the logarithm of their variance, over the features."""
        variance = (self.deviation + _PRIOR_ROWS) / (self.size[:, None] + _PRIOR_ROWS)
        return self.size * np.log(variance).sum(1)


_Cost: TypeAlias = Callable[[_Pieces, _Pieces], _Array]


def _of_levels(one: _Pieces, other: _Pieces) -> _Array:
    """What joining them adds to the squared deviations (Ward 1963)."""
    weight = one.size * other.size / (one.size + other.size)
    return weight * ((one.mean - other.mean) ** 2).sum(1)


def _of_laws(one: _Pieces, other: _Pieces) -> _Array:
    """Twice the nats that one Gaussian law loses to one for each."""
    return one.joined(other).spread() - one.spread() - other.spread()


_WAYS: tuple[tuple[_Cost | None, _Cost], ...] = (
    (_of_levels, _of_laws),
    (_of_levels, _of_levels),
    (None, _of_laws),
    (_of_laws, _of_laws),
)


def stretches(points: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator, way: int) -> Tensor:
    """(N,) rough states of rows at these ``points`` (N, F).

    ``way`` chooses what makes stretches alike: their level, or their spread as well; in one of four, each row is one.
    """
    along, merging = _WAYS[way % len(_WAYS)]
    observed = sequences.observed.any(1).cpu()
    rows = points[observed].double().numpy()
    series = torch.arange(sequences.n_series).repeat_interleave(sequences.lengths.cpu())[observed].numpy()
    begins = np.diff(series, prepend=-1) != 0
    low, high = np.log(_THRESHOLDS)
    threshold = float(np.exp(low + (high - low) * float(torch.rand((), generator=generator))))
    jitter = torch.rand(rows.shape[1], generator=generator, dtype=torch.float64).numpy() - 0.5
    scaled = rows / _noise(rows, begins) * np.exp(2.0 * _JITTER * jitter)
    pieces = _Pieces(np.ones(len(rows)), scaled, np.zeros_like(rows))
    of_row: _Labels = np.arange(len(rows))
    if along is not None:
        most = rows.shape[1] + threshold * rows.shape[1] ** 0.5
        of_row, pieces = _cut(pieces, begins, along, most)
    labels = torch.from_numpy(_merged(pieces, n_states, merging, generator)[of_row])
    return labels[(observed.cumsum(0) - 1).clamp(min=0)]


def _noise(rows: _Array, begins: NDArray[np.bool_]) -> _Array:
    """(F,) the usual size of what changes from row to row."""
    steps = np.abs(np.diff(rows, axis=0))[~begins[1:]]
    size = np.median(steps, 0) / (0.6745 * 2.0**0.5) if len(steps) else np.zeros(rows.shape[1])
    size = np.where(size > 0, size, rows.std(0))
    return np.where(size > 0, size, 1.0)


def _cut(pieces: _Pieces, begins: NDArray[np.bool_], cost: _Cost, most: float) -> tuple[_Labels, _Pieces]:
    """The stretch of each row, and the stretches: neighbours join, the most alike first, while that costs little."""
    first = np.arange(len(begins))
    while True:
        dear = cost(pieces.take(slice(None, -1)), pieces.take(slice(1, None)))
        dear[begins[first[1:]]] = np.inf
        before, after = np.r_[np.inf, dear[:-1]], np.r_[dear[1:], np.inf]
        joins = np.flatnonzero((dear < most) & (dear <= before) & (dear < after))
        if not len(joins):
            return np.cumsum(np.isin(np.arange(len(begins)), first)) - 1, pieces
        both = pieces.take(joins).joined(pieces.take(joins + 1))
        stays = np.ones(len(first), dtype=bool)
        stays[joins + 1] = False
        pieces, first = pieces.take(np.arange(len(first))), first[stays]
        for name, value in vars(both).items():
            getattr(pieces, name)[joins] = value
        pieces = pieces.take(stays)


def _merged(pieces: _Pieces, n_states: int, cost: _Cost, generator: torch.Generator) -> _Labels:
    """(P,) the state of each piece: those of a sample merge, the two most alike at a time; the others follow."""
    most = max(_FEWEST_MERGED, _MERGED_A_STATE * n_states)
    if len(pieces.size) <= most:
        return _dendrogram(pieces, n_states, cost)
    sample = torch.randperm(len(pieces.size), generator=generator)[:most].sort().values.numpy()
    chosen = pieces.take(sample)
    labels = _dendrogram(chosen, n_states, cost)
    return _most_likely(pieces, [chosen.take(labels == state) for state in range(int(labels.max()) + 1)])


def _dendrogram(pieces: _Pieces, n_states: int, cost: _Cost) -> _Labels:
    """(P,) the state of each piece, the two most alike of all merged until so many are left."""
    every = np.arange(len(pieces.size))
    pieces = pieces.take(every)
    label = every.copy()
    dear = np.stack([cost(pieces, pieces.take(slice(one, one + 1))) for one in every])
    np.fill_diagonal(dear, np.inf)
    nearest = dear.argmin(1)
    least = dear[every, nearest]
    for _ in range(len(every) - n_states):
        stays = int(least.argmin())
        goes = int(nearest[stays])
        at = slice(stays, stays + 1)
        for name, value in vars(pieces.take(at).joined(pieces.take(slice(goes, goes + 1)))).items():
            getattr(pieces, name)[at] = value
        label[label == goes] = stays
        row = np.where(np.isinf(dear[stays]), np.inf, cost(pieces, pieces.take(at)))
        row[goes] = np.inf
        dear[stays], dear[:, stays] = row, row
        dear[goes], dear[:, goes] = np.inf, np.inf
        moved = (nearest == stays) | (nearest == goes) | (every == stays) | (every == goes)
        anew = np.flatnonzero(moved)  # to the others the two joined lie no nearer than the nearer of them did
        nearest[anew] = dear[anew].argmin(1)
        least[anew] = dear[anew, nearest[anew]]
    return np.unique(label, return_inverse=True)[1]


def _most_likely(pieces: _Pieces, members: list[_Pieces]) -> _Labels:
    """(P,) under which Gaussian law of some sets of pieces each is most likely."""
    far = np.empty((len(pieces.size), len(members)))
    for state, own in enumerate(members):
        size = own.size.sum()
        mean = (own.size[:, None] * own.mean).sum(0) / size
        deviation = (own.deviation + own.size[:, None] * (own.mean - mean) ** 2).sum(0)
        variance = (deviation + _PRIOR_ROWS) / (size + _PRIOR_ROWS)
        away = pieces.deviation + pieces.size[:, None] * (pieces.mean - mean) ** 2
        far[:, state] = pieces.size * np.log(variance).sum() + (away / variance).sum(1)
    return far.argmin(1)
