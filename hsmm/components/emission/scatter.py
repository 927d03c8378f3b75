"""Mean and scatter from the moments of blocks of rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hsmm.components.emission.geometry import Geometry, Moments
from hsmm.numerics import eigh, eigvalsh, solve, surely_none
from hsmm.sequences import Block

_TINY = 1e-300
_ROUNDING = 1e-13  # of the largest eigenvalue: below it a matrix may have no Cholesky factor

CovarianceType = Literal["full", "diag", "tied", "spherical"]
Measured = list[tuple[Geometry, Moments]]


def axis_scatter(measured: Measured, mean: Tensor, *, moves: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean, summed squared deviations and weight, each (R, K, F), over observed cells.

    States without weight in a feature keep ``mean``, and all do unless the mean ``moves``.
    """
    first, second = (_sum([getattr(moments, name) for _, moments in measured]) for name in ("first", "second"))
    weight, scaled = (_sum([getattr(m, name) for _, m in measured]) for name in ("cell_weight", "cell_scaled"))
    shift = torch.where(scaled > 0, first / scaled.clamp(min=_TINY), 0.0) if moves else torch.zeros_like(first)
    return mean + shift, (second - shift * first).clamp(min=0.0), weight.expand_as(mean)


def matrix_scatter(
    measured: Measured, mean: Tensor, covariance: Tensor, *, moves: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean (R, K, F), scatter (R, K, F, F) and weight (R, K); missing cells enter by conditional moments.

    Means stay where they are unless the mean ``moves``.
    """
    weight, scaled = (_sum([getattr(moments, name) for _, moments in measured]) for name in ("weight", "scaled"))
    completed = [_completed(geometry.block, moments, covariance) for geometry, moments in measured]
    first, second = (_sum(list(parts)) for parts in zip(*completed, strict=True))
    total = scaled.unsqueeze(-1)
    shift = torch.where(total > 0, first / total.clamp(min=_TINY), 0.0) if moves else torch.zeros_like(first)
    moved = shift * total.sqrt()
    return mean + shift, second - moved.unsqueeze(-1) * moved.unsqueeze(-2), weight


def _completed(block: Block, moments: Moments, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """First and second moments of all features, the missing ones at their conditional mean and with its covariance."""
    if not len(block.missing):
        return moments.first, moments.second
    seen, gone = block.features, block.missing
    cross = covariance[..., gone[:, None], seen]
    regression = solve(covariance[..., seen[:, None], seen], cross.mT).mT
    lift = covariance.new_zeros(*covariance.shape[:-1], len(seen))
    lift[..., seen, torch.arange(len(seen), device=seen.device)] = 1.0
    lift[..., gone, :] = regression
    second = lift @ moments.second @ lift.mT
    spread = covariance[..., gone[:, None], gone] - regression @ cross.mT
    second[..., gone[:, None], gone] += moments.weight[..., None, None] * spread
    return (lift @ moments.first.unsqueeze(-1)).squeeze(-1), 0.5 * (second + second.mT)


def _sum(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])


def floor_eigenvalues(covariance: Tensor, scale: Tensor, floor: float) -> Tensor:
    """Raise the eigenvalues of (R, K, F, F) to at least ``floor``, and to what rounding leaves of the largest.

    They are in units of the features' ``scale``, (F,) or (R, 1, F).

    The maximiser under that constraint keeps the eigenvectors.
    """
    scales = scale.unsqueeze(-1) * scale.unsqueeze(-2)
    standard = covariance / scales
    values, vectors = _spectrum(standard)
    least = (_ROUNDING * values.amax(-1)).clamp(min=floor)
    low = values.amin(-1) < least
    if surely_none(low):
        return covariance
    if vectors is None:
        values, vectors = torch.linalg.eigh(standard)
    raised = (vectors * torch.maximum(values, least.unsqueeze(-1)).unsqueeze(-2)) @ vectors.mT
    raised = raised * scales
    return torch.where(low[..., None, None], 0.5 * (raised + raised.mT), covariance)


def _spectrum(matrix: Tensor) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues; eigenvectors only where the host would have to wait to know whether they are needed."""
    return (eigvalsh(matrix), None) if matrix.device.type == "cpu" else eigh(matrix)
