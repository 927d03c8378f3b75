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
from hsmm.sequences import Pattern, Rows, Sequences

LOG_2PI = math.log(2.0 * math.pi)
_TINY = 1e-300

CovarianceType = Literal["full", "diag", "tied", "spherical"]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that observe equally many cells, measured: ``squared`` (R, K, n) Mahalanobis distances over those cells and
    ``log_det`` (R, K, n or 1) of their scatter. States come before rows, so that rows fill the vector registers."""

    rows: Rows
    n_observed: int
    squared: Tensor
    log_det: Tensor


def axis_blocks(sequences: Sequences, mean: Tensor, variance: Tensor) -> list[Block]:
    """Distances under per-feature variances (R, K, F), one feature at a time."""
    precision, log_variance = 1.0 / variance, variance.log()
    blocks = []
    for n_observed, rows in sequences.rows_by_count:
        values, seen = sequences.values[rows], sequences.observed[rows]
        squared = mean.new_zeros(*mean.shape[:2], len(values))
        log_det = torch.zeros_like(squared)
        for f in range(mean.shape[-1]):
            term = (values[:, f] - mean[..., f, None]).square_().mul_(precision[..., f, None])
            squared += term if n_observed == mean.shape[-1] else torch.where(seen[:, f], term, 0.0)
            log_det += torch.where(seen[:, f], log_variance[..., f, None], 0.0)
        blocks.append(Block(rows, n_observed, squared, log_det))
    return blocks


def matrix_blocks(sequences: Sequences, mean: Tensor, covariance: Tensor) -> list[Block]:
    """Distances under full matrices (R, K, F, F), whitened feature by feature for each pattern of missing cells."""
    return [_whitened(sequences.values[pattern.rows], pattern, mean, covariance) for pattern in sequences.patterns]


def _whitened(values: Tensor, pattern: Pattern, mean: Tensor, covariance: Tensor) -> Block:
    seen = pattern.observed
    factor = torch.linalg.cholesky(covariance[..., seen[:, None], seen])
    whitener = torch.linalg.inv(factor)
    offsets = [values[:, f] - mean[..., f, None] for f in seen.tolist()]
    squared = torch.zeros_like(offsets[0])
    for i in range(len(offsets)):
        whitened = whitener[..., i, 0, None] * offsets[0]
        for j in range(1, i + 1):
            whitened += whitener[..., i, j, None] * offsets[j]
        squared += whitened.square_()
    log_det = 2.0 * ordered_sum(factor.diagonal(dim1=-2, dim2=-1).log())
    return Block(pattern.rows, len(offsets), squared, log_det.unsqueeze(-1))


def axis_moments(sequences: Sequences, weights: Tensor, scales: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean, summed squared deviations and weight, each (R, K, F), over observed cells.

    ``weights`` (R, K, N) are posterior weights, ``scales`` the same times the latent precision of each row.
    States without weight in a feature keep ``mean``.
    """
    seen = sequences.observed.to(weights.dtype)
    centre, _ = sequences.moments
    values = (sequences.values - centre) * seen
    total, first, second = (scales @ x for x in (seen, values, values**2))
    new_mean = torch.where(total > 0, first / total.clamp(min=_TINY), mean - centre)
    squares = (second - new_mean * (2.0 * first - new_mean * total)).clamp(min=0.0)
    return new_mean + centre, squares, total if scales is weights else weights @ seen


def matrix_moments(
    sequences: Sequences, weights: Tensor, scales: Tensor, mean: Tensor, covariance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean (R, K, F), scatter (R, K, F, F) and weight (R, K); missing cells enter by conditional moments."""
    centre, _ = sequences.moments
    total, first, second = mean.new_zeros(mean.shape[:2]), torch.zeros_like(mean), torch.zeros_like(covariance)
    mass = torch.zeros_like(total)
    for pattern in sequences.patterns:
        weight, scale = weights[..., pattern.rows], scales[..., pattern.rows]
        values = sequences.values[pattern.rows] - centre
        total += scale.sum(-1)
        mass += weight.sum(-1)
        if len(pattern.missing):
            filled, spread = _conditional(values, pattern, mean - centre, covariance)
            scaled = filled * scale.unsqueeze(-1)
            first += scaled.sum(2)
            second += scaled.mT @ filled + weight.sum(-1)[..., None, None] * spread
        else:
            first += scale @ values
            products = (values[:, :, None] * values[:, None, :]).flatten(1)
            second += (scale @ products).view_as(second)
    new_mean = torch.where(total[..., None] > 0, first / total[..., None].clamp(min=_TINY), mean - centre)
    cross = new_mean[..., None] * first[..., None, :]
    outer = new_mean[..., None] * new_mean[..., None, :]
    scatter = second - cross - cross.mT + total[..., None, None] * outer
    return new_mean + centre, 0.5 * (scatter + scatter.mT), mass


def _conditional(values: Tensor, pattern: Pattern, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R, K, n, F) with missing cells at their conditional mean, and that covariance (R, K, F, F)."""
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
