"""Scores on rows that a candidate has not seen, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from hsmm.selection.candidate import Candidate, fitting_quietly
from hsmm.selection.splits import Fold
from hsmm.training.together import Fitting


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Σ log p(row | rows before it) of each piece, one series in one fold.

    - ``log_density``, ``n_rows`` (P,): sum over the piece's scored rows, and how many those are
    - ``fold`` (P,): which fold each piece belongs to
    """

    log_density: np.ndarray
    n_rows: np.ndarray
    fold: np.ndarray

    @property
    def mean(self) -> float:
        """Nats per scored row."""
        return float(self.log_density.sum() / self.n_rows.sum())

    @property
    def by_fold(self) -> np.ndarray:
        """(n_folds,) nats per scored row of each fold."""
        return np.bincount(self.fold, self.log_density) / np.bincount(self.fold, self.n_rows)

    @property
    def standard_error(self) -> float:
        """Of the mean, from the spread of the pieces; NaN for a single one."""
        return _standard_error(self.log_density, self.n_rows)

    def standard_error_beside(self, other: HeldOut) -> float:
        """Of the difference of the means of two candidates, piece by piece: what both find hard cancels."""
        return _standard_error(other.log_density - self.log_density, self.n_rows)


def held_out_scores(candidate: Candidate, folds: Iterable[Fold]) -> Fitting[HeldOut]:
    """Fit a copy in each fold and score the rows held out, causally."""
    sums, counts, numbers = [], [], []
    for number, fold in enumerate(folds):
        model, _ = yield from fitting_quietly(candidate, fold.train)
        density = model.log_density_sequences(fold.scored)
        rows = fold.sums(torch.ones_like(density))
        kept = rows > 0
        sums.append(fold.sums(density)[kept])
        counts.append(rows[kept])
        numbers.append(torch.full_like(rows[kept], number, dtype=torch.int64))
    return HeldOut(*(torch.cat(parts).numpy() for parts in (sums, counts, numbers)))


def _standard_error(sums: np.ndarray, n_rows: np.ndarray) -> float:
    """Of a ratio Σ sums / Σ n_rows over pieces of different sizes."""
    n_pieces, total = len(sums), n_rows.sum()
    if n_pieces < 2 or not np.isfinite(sums).all():
        return math.nan
    rest = sums - sums.sum() / total * n_rows
    return float(math.sqrt(n_pieces / (n_pieces - 1) * (rest**2).sum()) / total)
