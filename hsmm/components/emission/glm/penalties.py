"""Penalties on coefficients: -log of their prior, up to a constant. Intercepts are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

RegularizerName: TypeAlias = Literal["unregularized", "ridge", "lasso", "elastic_net", "group_lasso"]
REGULARIZERS: tuple[RegularizerName, ...] = ("unregularized", "ridge", "lasso", "elastic_net", "group_lasso")


@dataclass(frozen=True, eq=False)
class Penalty:
    """½ Σ precision · θ² + Σ absolute · |θ| + Σ_g group_weight · ‖θ_g / unit_g‖₂ over the last axis of coordinates θ.

    ``precision`` and ``absolute`` are (Q,); ``group`` (Q,) int64 numbers the group of each coordinate, -1 for none,
    and ``group_weight`` is (G,). ``unit`` (Q,) is the coordinate of a coefficient of 1.
    """

    precision: Tensor
    absolute: Tensor
    group: Tensor
    group_weight: Tensor
    unit: Tensor

    @property
    def is_smooth(self) -> bool:
        return not bool(self.absolute.any()) and not bool((self.group >= 0).any())

    def smooth(self, coordinates: Tensor) -> Tensor:
        return 0.5 * (self.precision * coordinates**2).sum(-1)

    def rough(self, coordinates: Tensor) -> Tensor:
        """The part without a gradient at 0."""
        value = (self.absolute * coordinates.abs()).sum(-1)
        if self.group_weight.numel():
            value = value + (self.group_weight * self._norms(coordinates)).sum(-1)
        return value

    def proximal(self, coordinates: Tensor, step: Tensor) -> Tensor:
        """argmin over u of Σ (u - θ)² / (2 step) + rough(u); steps over squared units are equal within a group."""
        shrunk = coordinates.sign() * (coordinates.abs() - step * self.absolute).clamp(min=0.0)
        if not self.group_weight.numel():
            return shrunk
        inside = self.group >= 0
        index = self.group.clamp(min=0)
        norm = self._norms(shrunk)[..., index].clamp(min=1e-300)
        factor = (1.0 - step / self.unit**2 * self.group_weight[index] / norm).clamp(min=0.0)
        return torch.where(inside, shrunk * factor, shrunk)

    def rough_derivatives(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Slope (..., Q) and curvature (..., Q, Q) of :meth:`rough` along the coordinates that are not 0."""
        slope = self.absolute * coordinates.sign()
        curvature = torch.diag_embed(torch.zeros_like(coordinates))
        if not self.group_weight.numel():
            return slope, curvature
        inside, index = self.group >= 0, self.group.clamp(min=0)
        norm = self._norms(coordinates)[..., index].clamp(min=1e-150)
        toward = torch.where(inside, coordinates / self.unit / norm, 0.0)
        stiff = torch.where(inside, self.group_weight[index] / norm, 0.0)
        same = (self.group.unsqueeze(-1) == self.group) & inside
        pairs = torch.where(same, toward.unsqueeze(-1) * toward.unsqueeze(-2), 0.0)
        curvature = stiff.unsqueeze(-1) * (torch.diag_embed(inside.to(stiff.dtype).expand(stiff.shape)) - pairs)
        curvature = curvature / self.unit / self.unit.unsqueeze(-1)
        return slope + torch.where(inside, self.group_weight[index] * toward / self.unit, 0.0), curvature

    def even(self, metric: Tensor) -> Tensor:
        """A metric (..., Q) that in squared units is equal within each group, at its largest there."""
        if not self.group_weight.numel():
            return metric
        square = self.unit**2
        member = self.group.unsqueeze(-1) == torch.arange(self.group_weight.numel(), device=metric.device)
        largest = torch.where(member, (metric * square).unsqueeze(-1), 0.0).amax(-2)
        return torch.where(self.group >= 0, largest[..., self.group.clamp(min=0)] / square, metric)

    def without(self, held: Tensor) -> Penalty:
        """The penalty of those coordinates alone that are not ``held`` (Q,)."""
        zero = torch.zeros_like(self.precision)
        return Penalty(
            torch.where(held, zero, self.precision),
            torch.where(held, zero, self.absolute),
            torch.where(held, -1, self.group),
            self.group_weight,
            self.unit,
        )

    def _norms(self, coordinates: Tensor) -> Tensor:
        inside = self.group >= 0
        index = self.group.clamp(min=0)
        squares = coordinates.new_zeros((*coordinates.shape[:-1], self.group_weight.numel()))
        own = torch.where(inside, (coordinates / self.unit) ** 2, 0.0)
        return squares.index_add(-1, index, own).clamp(min=1e-300).sqrt()


def penalty(
    regularizer: RegularizerName,
    strength: float,
    mix: float,
    groups: Sequence[int] | None,
    floor: float,
    feature: Tensor,
    block: Tensor,
    unit: Tensor,
) -> Penalty:
    """The penalty of coordinates that belong to ``feature`` (Q,), -1 for an intercept, of vector ``block`` (Q,).

    A group is made of the coordinates of its features within one block. A coefficient is a coordinate divided by its
    ``unit`` (Q,). ``floor`` is added to the precisions of all coordinates.
    """
    slope = feature >= 0
    zero = torch.zeros(len(feature), dtype=torch.float64, device=feature.device)
    quadratic = {"ridge": strength, "elastic_net": strength * (1.0 - mix)}.get(regularizer, 0.0)
    linear = {"lasso": strength, "elastic_net": strength * mix}.get(regularizer, 0.0)
    group, weight = _grouped(strength, groups, feature, block) if regularizer == "group_lasso" else _ungrouped(feature)
    precision, absolute = torch.where(slope, quadratic, zero) / unit**2, torch.where(slope, linear, zero) / unit
    return Penalty(precision + floor, absolute, group, weight, unit)


def _ungrouped(feature: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(feature, -1), torch.zeros(0, dtype=torch.float64, device=feature.device)


def _grouped(strength: float, groups: Sequence[int] | None, feature: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
    """Weight strength · sqrt(size) for each group; by default all features are one."""
    n_features = int(feature.max()) + 1
    label = torch.tensor(list(groups) if groups is not None else [0] * n_features, device=feature.device)
    if len(label) != n_features:
        raise ValueError(f"groups name {len(label)} columns, but there are {n_features}; name the group of each.")
    of_coordinate = torch.where(feature >= 0, label[feature.clamp(min=0)], -1)
    key = torch.where(of_coordinate >= 0, block * (int(label.max()) + 1) + of_coordinate, -1)
    kinds, number = key.unique(return_inverse=True)
    number = number - int((kinds < 0).any())
    size = torch.bincount(number[key >= 0], minlength=int(number.max()) + 1)
    return torch.where(key >= 0, number, -1), strength * size.to(torch.float64).sqrt()
