"""Densities and moments of blocks of rows in torch, on any device: the definition of correct."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.components.emission.geometry import Geometry, Moments, Radial
from hsmm.sequences import Sequences


def fill_log_density(density: Tensor, sequences: Sequences, geometry: Geometry, radial: Radial) -> None:
    """Write the log-densities of the block's rows into ``density`` (R, N, K)."""
    squared = _squared_distance(_offsets(sequences, geometry), geometry)
    if radial.dof is None:
        distance = squared
    else:
        dof = radial.dof.unsqueeze(-1)
        distance = (dof + geometry.block.n_observed) * torch.log1p(squared / dof)
    for f, seen in enumerate(_seen(sequences, geometry)):
        distance += torch.where(seen, geometry.log_variance[..., f, None], 0.0)
    density[:, geometry.block.rows] = (radial.peak.unsqueeze(-1) - 0.5 * distance).mT


def moments(sequences: Sequences, geometry: Geometry, radial: Radial, weights: Tensor) -> Moments:
    """Moments of the block's rows for posterior weights (R, N, K) of all rows."""
    weight = weights[:, geometry.block.rows].mT.contiguous()
    offsets = _offsets(sequences, geometry)
    latent, scaled = {}, weight
    if radial.dof is not None:
        dof = radial.dof.unsqueeze(-1)
        squared = _squared_distance(offsets, geometry)
        share = squared / (dof + squared)
        scaled = weight * (dof + geometry.block.n_observed) / (dof + squared)
        latent = {
            "spread": (weight * torch.log1p(squared / dof)).sum(-1),
            "share": (weight * share).sum(-1),
            "share_squared": (weight * share.square()).sum(-1),
        }
    seen = [mask.to(weight.dtype) for mask in _seen(sequences, geometry)]
    return Moments(
        weight=weight.sum(-1),
        scaled=scaled.sum(-1),
        first=torch.stack([(scaled * x).sum(-1) for x in offsets], -1),
        second=_second(scaled, offsets, geometry),
        cell_weight=torch.stack([(weight * x).sum(-1) for x in seen], -1),
        cell_scaled=torch.stack([(scaled * x).sum(-1) for x in seen], -1),
        **latent,
    )


def _offsets(sequences: Sequences, geometry: Geometry) -> list[Tensor]:
    """(R, K, n) offset from the mean, one for each feature; 0 where a cell is missing."""
    values = sequences.values[geometry.block.rows]
    return [
        torch.where(seen, values[:, column] - geometry.mean[..., f, None], 0.0)
        for f, (column, seen) in enumerate(zip(geometry.block.columns, _seen(sequences, geometry), strict=True))
    ]


def _seen(sequences: Sequences, geometry: Geometry) -> list[Tensor]:
    """(n,) rows that observe a feature, one for each."""
    return list(sequences.observed[geometry.block.rows][:, geometry.block.features].unbind(1))


def _squared_distance(offsets: list[Tensor], geometry: Geometry) -> Tensor:
    squared = torch.zeros_like(offsets[0])
    for i, offset in enumerate(offsets):
        if geometry.by_axis:
            squared += geometry.precision[..., i, None] * offset.square()
        else:
            whitened = geometry.precision[..., i, 0, None] * offsets[0]
            for j in range(1, i + 1):
                whitened += geometry.precision[..., i, j, None] * offsets[j]
            squared += whitened.square_()
    return squared


def _second(scaled: Tensor, offsets: list[Tensor], geometry: Geometry) -> Tensor:
    if geometry.by_axis:
        return torch.stack([(scaled * x.square()).sum(-1) for x in offsets], -1)
    rows = [torch.stack([(scaled * x * y).sum(-1) for y in offsets], -1) for x in offsets]
    return torch.stack(rows, -2)
