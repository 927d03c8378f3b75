"""The weighted negative log-likelihood of many generalised linear models at once, and its slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hsmm.components.emission.glm.links import InverseLink
from hsmm.components.emission.glm.penalties import Penalty
from hsmm.components.emission.glm.responses import Response
from hsmm.sequences import Sequences

_MOST_PRODUCTS = 120
_LEAST_MEAN = 1e-9


@dataclass(frozen=True, eq=False)
class Design:
    """``columns`` (P, N) a column of ones and the covariates less ``centre`` (F,) in units of ``spread`` (F,);
    ``products`` (N, P (P + 1) / 2) theirs in pairs, if affordable, and ``pair`` (P, P) which of these belongs to two
    columns."""

    columns: Tensor
    products: Tensor | None
    pair: Tensor
    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, sequences: Sequences, covariates: Tensor, key: object, *, centred: bool) -> Design:
        """Made once for the same data: covariates in standard deviations from their mean or, unless ``centred``, in
        units of their root mean square."""
        made: dict[object, Design] = sequences.__dict__.setdefault("_designs", {})
        if (key, centred) not in made:
            n, c = covariates.shape
            centre, spread = _units(covariates, centred=centred)
            columns = torch.cat([covariates.new_ones(1, n), ((covariates - centre) / spread).T]).contiguous()
            first, second = torch.triu_indices(c + 1, c + 1, device=columns.device)
            pair = torch.empty(c + 1, c + 1, dtype=torch.int64, device=columns.device)
            pair[first, second] = pair[second, first] = torch.arange(len(first), device=columns.device)
            products = None
            if len(first) <= _MOST_PRODUCTS:
                products = (columns[first] * columns[second]).T.contiguous()
            made[key, centred] = cls(columns, products, pair, centre, spread)
        return made[key, centred]

    @property
    def n_columns(self) -> int:
        return self.columns.shape[0]

    def standard(self, weights: Tensor) -> Tensor:
        """(..., P) an intercept and coefficients of the covariates as they are → those of the columns."""
        return standardised(weights, self.centre, self.spread)

    def raw(self, weights: Tensor) -> Tensor:
        """The inverse of :meth:`standard`."""
        return unstandardised(weights, self.centre, self.spread)

    def predictor(self, weights: Tensor) -> Tensor:
        """(..., P) → (..., N)"""
        return weights @ self.columns

    def slope(self, per_row: Tensor) -> Tensor:
        """(..., N) → (..., P)"""
        return per_row @ self.columns.T

    def curvature(self, per_row: Tensor) -> Tensor:
        """(..., N) → (..., P, P)"""
        if self.products is not None:
            return (per_row @ self.products)[..., self.pair]
        return (per_row.unsqueeze(-2) * self.columns) @ self.columns.T


def standardised(weights: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """(..., P) an intercept and coefficients → those of covariates less ``centre`` (..., F) in units of ``spread``."""
    level, slopes = weights[..., :1], weights[..., 1:]
    return torch.cat([level + (slopes * centre).sum(-1, keepdim=True), slopes * spread], -1)


def unstandardised(weights: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """The inverse of :func:`standardised`."""
    level, slopes = weights[..., :1], weights[..., 1:] / spread
    return torch.cat([level - (slopes * centre).sum(-1, keepdim=True), slopes], -1)


def _units(covariates: Tensor, *, centred: bool) -> tuple[Tensor, Tensor]:
    """(F,) where each covariate lies and how far it reaches; 1 for one that is 0 throughout."""
    centre = covariates.mean(0) if centred else covariates.new_zeros(covariates.shape[1])
    if centred:
        constant = covariates.amin(0) == covariates.amax(0)
        centre = torch.where(constant, covariates[0], centre)
    rest = covariates - centre
    largest = rest.abs().amax(0)
    largest = torch.where(largest > 0, largest, 1.0)
    square = (rest / largest).square().mean(0)
    return centre, torch.where(square > 0, largest * square.sqrt(), 1.0)


class Evaluation(NamedTuple):
    """``value`` (B...,), ``slope`` (B..., Q) and ``curvature`` (B..., Q, Q) of the smooth objective."""

    value: Tensor
    slope: Tensor
    curvature: Tensor


@dataclass(frozen=True, eq=False)
class Problem:
    """Penalised negative log-likelihoods, in coordinates (R, Y, G, Q) of G independent groups of states.

    ``place`` (G, K/G, M·P) says which coordinate stands at each place of the states' parameters; ``y`` (Y, 1, N),
    ``weight`` (R, Y, K, N), ``scale`` (R, Y, K, 1, 1). Coordinates that are ``held`` (Q,) do not move.
    """

    design: Design
    response: Response
    link: InverseLink
    y: Tensor
    weight: Tensor
    scale: Tensor
    penalty: Penalty
    place: Tensor
    n_coordinates: int
    held: Tensor | None = None

    @property
    def has_walls(self) -> bool:
        """Whether some predictors have no mean, so that a short step may still go too far."""
        return self.link.name in ("identity", "one_over_x", "custom") and self.response.name != "gaussian"

    def coordinates(self, parameters: Tensor) -> Tensor:
        """(R, Y, K, M, P) → (R, Y, G, Q); parameters that share a coordinate are equal."""
        r, n_responses = parameters.shape[:2]
        g, k, q = self.place.shape
        flat = parameters.reshape(r, n_responses, g, k * q)
        made = flat.new_zeros(r, n_responses, g, self.n_coordinates)
        return made.index_copy(-1, self.place[0].flatten(), flat)

    def parameters(self, coordinates: Tensor) -> Tensor:
        """(R, Y, G, Q) → (R, Y, K, M, P)"""
        r, n_responses = coordinates.shape[:2]
        p = self.design.n_columns
        g, k, q = self.place.shape
        return coordinates[..., self.place[0].flatten()].reshape(r, n_responses, g * k, q // p, p)

    def evaluate(self, coordinates: Tensor) -> Evaluation:
        """Value, slope and a positive semi-definite curvature; value inf outside the law's range."""
        value, slope, bend = self._by_row(coordinates)
        weight = self.weight.unsqueeze(-2)
        gradient = self.design.slope(weight * slope).flatten(-2)
        if bend.ndim == slope.ndim:
            curvature = self.design.curvature(weight.squeeze(-2) * bend.squeeze(-2))
        else:
            blocks = self.design.curvature(weight.unsqueeze(-3) * bend)
            m, p = blocks.shape[-3], blocks.shape[-1]
            curvature = blocks.transpose(-3, -2).reshape(*blocks.shape[:-4], m * p, m * p)
            curvature = curvature + self._along_equal_categories(curvature, m, p)
        joined, slopes, bends = self._joined(value, gradient, curvature)
        precision = self.penalty.precision
        if self.held is not None:
            slopes = torch.where(self.held, 0.0, slopes)
            bends = torch.where(self.held | self.held.unsqueeze(-1), torch.diag_embed(torch.ones_like(slopes)), bends)
        return Evaluation(
            joined + self.penalty.smooth(coordinates),
            slopes + precision * coordinates,
            bends + torch.diag_embed(precision.expand(coordinates.shape)),
        )

    def value_and_slope(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        value, slope, _ = self._by_row(coordinates)
        gradient = self.design.slope(self.weight.unsqueeze(-2) * slope).flatten(-2)
        joined, slopes, _ = self._joined(value, gradient, None)
        if self.held is not None:
            slopes = torch.where(self.held, 0.0, slopes)
        return (
            joined + self.penalty.smooth(coordinates),
            slopes + self.penalty.precision * coordinates,
        )

    def take(self, restart: int, response: int, group: int) -> Problem:
        """One of the independent problems alone."""
        k = self.place.shape[1]
        states = slice(group * k, (group + 1) * k)
        one, only = slice(restart, restart + 1), slice(response, response + 1)
        return Problem(
            self.design,
            self.response,
            self.link,
            self.y[only],
            self.weight[one, only, states],
            self.scale[one, only, states],
            self.penalty,
            self.place[:1],
            self.n_coordinates,
            self.held,
        )

    def _by_row(self, coordinates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        predictor = self.design.predictor(self.parameters(coordinates))
        value, slope, bend = self.response.slopes(self.y.unsqueeze(-3), predictor, self.scale, self.link)
        if self.has_walls:
            value = torch.where(self._near_wall(predictor), torch.inf, value)
        total = (self.weight * value.squeeze(-2)).sum(-1)
        if not bool(total.isfinite().all()):
            counted = torch.where(self.weight > 0, self.weight * value.squeeze(-2), 0.0)
            total = counted.sum(-1).nan_to_num(torch.inf)
            slope, bend = slope.nan_to_num(0.0, 0.0, 0.0), bend.nan_to_num(0.0, 0.0, 0.0)
        return total, slope, bend

    def _near_wall(self, predictor: Tensor) -> Tensor:
        """Rows whose mean is so near to the end of its range that rounding could carry it beyond."""
        if self.response.name == "gamma":  # of any unit: beside what is usual
            reach = predictor if self.link.name in ("identity", "one_over_x") else self.link.mean(predictor)
            return ~(reach > _LEAST_MEAN * reach.abs().amax(-1, keepdim=True))
        mean = self.link.mean(predictor)
        low = ~(mean >= _LEAST_MEAN)
        return low | (mean > 1.0 - _LEAST_MEAN) if self.response.name == "bernoulli" else low

    def _joined(self, value: Tensor, gradient: Tensor, curvature: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over the states of each group."""
        g, k, q = self.place.shape
        r, n_responses = value.shape[:2]
        if k == 1:
            return value, gradient, curvature if curvature is not None else gradient
        total = value.reshape(r, n_responses, g, k).sum(-1)
        index = self.place[0]
        flat = gradient.reshape(r, n_responses, g, k * q)
        slopes = flat.new_zeros(r, n_responses, g, self.n_coordinates).index_add(-1, index.flatten(), flat)
        if curvature is None:
            return total, slopes, slopes
        size = self.n_coordinates
        pairs = (index[:, :, None] * size + index[:, None, :]).flatten()
        bends = flat.new_zeros(r, n_responses, g, size * size)
        bends = bends.index_add(-1, pairs, curvature.reshape(r, n_responses, g, k * q * q))
        return total, slopes, bends.unflatten(-1, (size, size))

    def _along_equal_categories(self, curvature: Tensor, m: int, p: int) -> Tensor:
        """Curvature where all categories move together, which no response can tell."""
        size = curvature.diagonal(dim1=-2, dim2=-1).amax(-1).clamp(min=1e-12)
        equal = torch.kron(
            torch.full((m, m), 1.0 / m, dtype=curvature.dtype, device=curvature.device),
            torch.eye(p, dtype=curvature.dtype, device=curvature.device),
        )
        return size[..., None, None] * equal
