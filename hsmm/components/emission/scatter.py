"""Mean and scatter of elliptical laws: four shapes of matrix, one set of operations each.

A scatter knows how to measure squared distances, to estimate itself from weighted rows, and to floor its variances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hsmm.numerics import ordered_sum
from hsmm.sequences import Pattern, Sequences

LOG_2PI = math.log(2.0 * math.pi)
_TINY = 1e-300

CovarianceType = Literal["full", "diag", "tied", "spherical"]


@dataclass(frozen=True, eq=False)
class Distances:
    """``squared`` (R, N, K) Mahalanobis distances over the observed cells, ``log_det`` (R, N or 1, K) of their scatter,
    ``n_observed`` (N,) cells."""

    squared: Tensor
    log_det: Tensor
    n_observed: Tensor


def axis_distances(sequences: Sequences, mean: Tensor, variance: Tensor) -> Distances:
    """Distances under per-feature variances (R, K, F), one feature at a time."""
    squared = mean.new_zeros(mean.shape[0], sequences.n_rows, mean.shape[1])
    complete = sequences.is_complete
    log_variance = variance.log().unsqueeze(1)
    log_det = torch.zeros_like(squared[:, :1] if complete else squared)
    for f in range(mean.shape[-1]):
        offset = sequences.values[:, f, None] - mean[:, None, :, f]
        term = offset.square_().mul_(1.0 / variance[:, None, :, f])
        if complete:
            squared += term
            log_det += log_variance[..., f]
        else:
            seen = sequences.observed[:, f, None]
            squared += torch.where(seen, term, 0.0)
            log_det += torch.where(seen, log_variance[..., f], 0.0)
    return Distances(squared, log_det, sequences.observed.sum(1))


def matrix_distances(sequences: Sequences, mean: Tensor, covariance: Tensor) -> Distances:
    """Distances under full matrices (R, K, F, F), whitened feature by feature for each pattern of missing cells."""
    if sequences.is_complete:
        squared, log_det = _whitened(sequences.values, sequences.patterns[0], mean, covariance)
        return Distances(squared, log_det.unsqueeze(1), sequences.observed.sum(1))
    squared = mean.new_zeros(mean.shape[0], sequences.n_rows, mean.shape[1])
    log_det = torch.zeros_like(squared)
    for pattern in sequences.patterns:
        squared[:, pattern.rows], determinant = _whitened(sequences.values[pattern.rows], pattern, mean, covariance)
        log_det[:, pattern.rows] = determinant.unsqueeze(1)
    return Distances(squared, log_det, sequences.observed.sum(1))


def _whitened(values: Tensor, pattern: Pattern, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (R, n, K) of rows (n, F) of one pattern, and the log-determinant (R, K) of its scatter."""
    seen = pattern.observed
    factor = torch.linalg.cholesky(covariance[..., seen[:, None], seen])
    whitener = torch.linalg.inv(factor)
    offsets = [values[:, f, None] - mean[:, None, :, f] for f in seen.tolist()]
    total = torch.zeros_like(offsets[0])
    for i in range(len(offsets)):
        whitened = whitener[:, None, :, i, 0] * offsets[0]
        for j in range(1, i + 1):
            whitened += whitener[:, None, :, i, j] * offsets[j]
        total += whitened.square_()
    return total, 2.0 * ordered_sum(factor.diagonal(dim1=-2, dim2=-1).log())


def axis_moments(sequences: Sequences, weights: Tensor, scales: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean, summed squared deviations and weight, each (R, K, F), over observed cells.

    ``weights`` (R, N, K) are posterior weights, ``scales`` the same times the latent precision of each row.
    States without weight in a feature keep ``mean``.
    """
    seen = sequences.observed.to(weights.dtype)
    centre, _ = sequences.moments
    values = (sequences.values - centre) * seen
    total, first, second = (_sum_rows(scales, x) for x in (seen, values, values**2))
    new_mean = torch.where(total > 0, first / total.clamp(min=_TINY), mean - centre)
    squares = (second - new_mean * (2.0 * first - new_mean * total)).clamp(min=0.0)
    return new_mean + centre, squares, total if scales is weights else _sum_rows(weights, seen)


def matrix_moments(
    sequences: Sequences, weights: Tensor, scales: Tensor, mean: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean (R, K, F), scatter (R, K, F, F) and weight (R, K); missing cells enter by conditional moments."""
    centre, _ = sequences.moments
    total, first, second = mean.new_zeros(mean.shape[:2]), torch.zeros_like(mean), torch.zeros_like(covariance)
    mass = torch.zeros_like(total)
    for pattern in sequences.patterns:
        weight, scale = (x if sequences.is_complete else x[:, pattern.rows] for x in (weights, scales))
        values = sequences.values[pattern.rows] - centre
        total += scale.sum(1)
        mass += weight.sum(1)
        if len(pattern.missing):
            filled, spread = _conditional(values, pattern, mean - centre, covariance)
            scaled = filled * scale.mT.unsqueeze(-1)
            first += scaled.sum(2)
            second += scaled.mT @ filled + weight.sum(1)[..., None, None] * spread
        else:
            first += _sum_rows(scale, values)
            products = (values[:, :, None] * values[:, None, :]).flatten(1)
            second += _sum_rows(scale, products).view_as(second)
    new_mean = torch.where(total[..., None] > 0, first / total[..., None].clamp(min=_TINY), mean - centre)
    cross = new_mean[..., None] * first[..., None, :]
    outer = new_mean[..., None] * new_mean[..., None, :]
    scatter = second - cross - cross.mT + total[..., None, None] * outer
    return new_mean + centre, 0.5 * (scatter + scatter.mT), mass


def _conditional(values: Tensor, pattern: Pattern, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R, K, n, F) with their missing cells at the conditional mean, and the conditional covariance (R, K, F, F)."""
    seen, gone = pattern.observed, pattern.missing
    cross = covariance[..., gone[:, None], seen]
    regression = torch.linalg.solve(covariance[..., seen[:, None], seen], cross.mT).mT
    offset = values[..., seen] - mean[:, :, None, seen]
    filled = values.expand(*mean.shape[:2], -1, -1).clone()
    filled[..., gone] = mean[:, :, None, gone] + offset @ regression.mT
    spread = torch.zeros_like(covariance)
    spread[..., gone[:, None], gone] = covariance[..., gone[:, None], gone] - regression @ cross.mT
    return filled, spread


def floor_eigenvalues(covariance: Tensor, scale: Tensor, floor: float) -> Tensor:
    """Raise the eigenvalues of (..., F, F), in units of the features' ``scale`` (F,), to at least ``floor``.

    The maximiser under that constraint keeps the eigenvectors.
    """
    standard = covariance / (scale[:, None] * scale)
    smallest = torch.linalg.eigvalsh(standard).amin(-1)
    if bool((smallest >= floor).all()):
        return covariance
    values, vectors = torch.linalg.eigh(standard)
    raised = (vectors * values.clamp(min=floor).unsqueeze(-2)) @ vectors.mT
    raised = raised * (scale[:, None] * scale)
    return torch.where((smallest < floor)[..., None, None], 0.5 * (raised + raised.mT), covariance)


def _sum_rows(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_n weights (R, N, K) values (N, F) → (R, K, F)."""
    return weights.mT @ values
