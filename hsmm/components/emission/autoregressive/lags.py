"""Each row beside the rows before it of the same series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hsmm.sequences import Rows, Sequences

_DEPENDENT = 1e-13  # of the largest eigenvalue of regressors: below it a direction is rounding
_FLAT = 1e-3  # of a feature's scale: what is left by a regression of nothing but rounding
_BLOCK_CELLS = 1 << 20


@dataclass(frozen=True, eq=False)
class Pattern:
    """Rows that observe the same cells of themselves and of the rows before.

    - ``rows``: their indices, or a slice of all
    - ``present`` (f,), ``absent``: the features that are observed, and that are missing
    - ``past`` (c,), ``lost``: the cells of the rows before that are known, and that are not
    - ``features``, ``cells``: ``present`` and ``past`` as numbers, wherever the tensors are
    """

    rows: Rows
    present: Tensor
    absent: Tensor
    past: Tensor
    lost: Tensor
    features: tuple[int, ...]
    cells: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        return not len(self.absent) and not len(self.lost)


@dataclass(frozen=True, eq=False)
class Lagged:
    """Rows (N, F) of series, and the cells (N, L · F) of the L rows before, the latest first.

    Before a series' first row nothing is known, except of one that goes on: ``sequences.before``. Unknown cells are 0.
    """

    sequences: Sequences
    past: Tensor
    known: Tensor

    @classmethod
    def of(cls, sequences: Sequences, n_lags: int) -> Lagged:
        """Made once for the same series and number of lags."""
        made: dict[int, Lagged] = sequences.__dict__.setdefault("_lagged", {})
        if n_lags not in made:
            made[n_lags] = cls(sequences, *_rows_before(sequences, n_lags))
        return made[n_lags]

    @cached_property
    def patterns(self) -> list[Pattern]:
        """Rows by what is observed; those without any observed cell are left out."""
        observed, n_features = self.sequences.observed, self.sequences.n_features
        kinds, kind_of_row = torch.cat([observed, self.known], 1).unique(dim=0, return_inverse=True)
        found = []
        for i, kind in enumerate(kinds.cpu()):
            own, before = kind[:n_features], kind[n_features:]
            if bool(own.any()):
                places = [x.nonzero().flatten() for x in (own, ~own, before, ~before)]
                named = [tuple(x.tolist()) for x in (places[0], places[2])]
                rows = (kind_of_row == i).nonzero().flatten() if len(kinds) > 1 else slice(None)
                found.append(Pattern(rows, *(x.to(observed.device) for x in places), *named))
        return found

    @cached_property
    def units(self) -> tuple[Tensor, Tensor]:
        """(F,) mean and standard deviation of each feature: the units that sums over rows are made in."""
        return self.sequences.moments[0], self.sequences.scale

    def cells(self, pattern: Pattern) -> Tensor:
        """(n, 1 + c + f) of these rows: 1, what is known of the rows before, and what is observed, in ``units``."""
        mean, unit = self.units
        n_lags = self.past.shape[1] // len(mean)
        past = (self.past[pattern.rows] - mean.repeat(n_lags)) / unit.repeat(n_lags)
        own = (self.sequences.values[pattern.rows] - mean) / unit
        return torch.cat([torch.ones_like(own[:, :1]), past[:, pattern.past], own[:, pattern.present]], 1)

    @cached_property
    def pooled(self) -> Pooled:
        """The regression of all complete rows on the rows before."""
        return Pooled.of(self)

    @cached_property
    def floor_scale(self) -> Tensor:
        """(F,) the scale that least innovation variances refer to: that of what the pooled regression leaves, or of its
        densest part."""
        whole = self.sequences.floor_scale
        complete = self.complete
        if complete is None:
            return whole
        left = self.pooled.coordinates[:, self.pooled.n_regressors :] * self.units[1]
        own = Sequences.from_arrays(left) if left.device.type == "cpu" else Sequences.from_arrays(left.cpu())
        varies = (own.moments[1] > 0).to(whole.device)
        return torch.where(varies, own.floor_scale.to(whole.device), 0.0).maximum(_FLAT * whole)

    @cached_property
    def complete(self) -> Pattern | None:
        """The rows of which nothing is missing, nor of the rows before."""
        return next((pattern for pattern in self.patterns if pattern.is_complete), None)


@dataclass(frozen=True, eq=False)
class Pooled:
    """Coordinates in which the complete rows of all states together are regressors of unit size that do not correlate,
    and what these leave: sums over them lose few digits, however smooth series are and wherever they lie.

    - ``rotation`` (p, 1 + L · F): regressors of a row's cells, without directions in which the rows do not differ
    - ``coef`` (F, 1 + L · F): the regression in ``units``
    - ``coordinates`` (n, p + F) of the complete rows
    """

    rotation: Tensor
    coef: Tensor
    coordinates: Tensor

    @classmethod
    def of(cls, lagged: Lagged) -> Pooled:
        n_features = lagged.sequences.n_features
        n_regressors = 1 + lagged.past.shape[1]
        complete = lagged.complete
        if complete is None:
            like = lagged.past
            nothing = like.new_zeros(n_features, n_regressors)
            unit = torch.eye(n_regressors, dtype=like.dtype, device=like.device)
            return cls(unit, nothing, like.new_zeros(0, n_regressors + n_features))
        cells = lagged.cells(complete)
        regressors, own = cells.split([n_regressors, n_features], 1)
        values, vectors = torch.linalg.eigh(regressors.mT @ regressors / len(cells))
        kept = values > _DEPENDENT * values[-1]
        rotation = vectors[:, kept].mT / values[kept].sqrt()[:, None]
        turned = regressors @ rotation.mT
        turned_coef = (own.mT @ turned) @ torch.linalg.inv(turned.mT @ turned)
        left = own - turned @ turned_coef.mT
        return cls(rotation, turned_coef @ rotation, torch.cat([turned, left], 1))

    @property
    def n_regressors(self) -> int:
        return self.rotation.shape[0]

    @property
    def to_cells(self) -> Tensor:
        """(1 + L · F, p) cells of the regressors; of directions that were left out nothing."""
        return torch.linalg.pinv(self.rotation)

    @property
    def of_cells(self) -> Tensor:
        """(p + F, 1 + L · F + F) the coordinates of cells."""
        n_features = len(self.coef)
        unit = torch.eye(n_features, dtype=self.coef.dtype, device=self.coef.device)
        blank = self.coef.new_zeros(self.n_regressors, n_features)
        return torch.cat([torch.cat([self.rotation, blank], 1), torch.cat([-self.coef, unit], 1)])


def second_moments(rows: Tensor, weights: Tensor) -> Tensor:
    """(R, K, q, q) Σ w · row rowᵀ of rows (n, q) with weights (R, n, K)."""
    r, n, k = weights.shape
    q = rows.shape[1]
    total = rows.new_zeros(r * k, q * q)
    for part in _blocks(n, max(1, _BLOCK_CELLS // (q * q))):
        products = (rows[part].unsqueeze(-1) * rows[part].unsqueeze(-2)).flatten(1)
        total += weights[:, part].mT.reshape(r * k, -1) @ products
    return total.view(r, k, q, q)


def _blocks(n: int, size: int) -> Iterator[slice]:
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))


def _rows_before(sequences: Sequences, n_lags: int) -> tuple[Tensor, Tensor]:
    """(N, L · F) cells of the rows before, and whether they are known."""
    n_rows, device = sequences.n_rows, sequences.device
    row = torch.arange(n_rows, device=device)
    start = sequences.offsets[:-1].to(device).repeat_interleave(sequences.lengths.to(device))
    series = torch.arange(sequences.n_series, device=device).repeat_interleave(sequences.lengths.to(device))
    values, known = [], []
    for lag in range(1, n_lags + 1):
        place = row - lag
        inside = (place >= start).unsqueeze(1)
        at = place.clamp(min=0)
        cells, seen = sequences.values[at], sequences.observed[at] & inside
        if sequences.before is not None:
            earlier = place - start + sequences.before.shape[1]  # in the rows before the first
            reached = (~inside[:, 0] & (earlier >= 0)).unsqueeze(1)
            kept = sequences.before[series, earlier.clamp(0, sequences.before.shape[1] - 1)]
            cells, seen = torch.where(reached, kept, cells), torch.where(reached, ~kept.isnan(), seen)
        values.append(torch.where(seen, cells, 0.0))
        known.append(seen)
    return torch.cat(values, 1), torch.cat(known, 1)
