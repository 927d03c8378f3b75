"""Gaussian and Student-t emissions: one mean and scatter, without and with a latent precision."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound, Constraint, as_parameter
from hsmm.components.emission import native, reference
from hsmm.components.emission.base import Emission, Sufficient
from hsmm.components.emission.geometry import Geometry, Moments, Radial
from hsmm.components.emission.scatter import (
    CovarianceType,
    Measured,
    axis_scatter,
    floor_eigenvalues,
    matrix_scatter,
)
from hsmm.components.emission.spikes import AT_FLOOR, narrow_axes, narrow_directions, widened_axes, widened_matrices
from hsmm.components.emission.support import NUMBERS, Support
from hsmm.components.emission.tails import Tails, normal_tails, student_tails
from hsmm.numerics import eigvalsh
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.types import StateSeries
from hsmm.units import Units

_COVARIANCES: tuple[CovarianceType, ...] = ("full", "diag", "tied", "spherical")
_EMPTY = 1e-8
_ASYMMETRY = 1e-6  # of a covariance, beside the standard deviations of its features
_ROUNDING = 1e-13  # of a posterior weight
_REACH = 4.0  # standard deviations from a state within which rows are counted as on it
_FIRST_STEPS = 5
_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, kw_only=True, eq=False)
class Elliptical(Emission):
    """Parameters ``mean`` (R, K, F) and ``covariance``: matrices (R, K, F, F) for full and tied, variances (R, K, F)
    for diag and spherical.

    ``min_covariance`` floors variances (for matrices: eigenvalues), relative to each feature's variance in the data, or
    to that of its densest part where this is far less: a wild value, or rows of another scale, hide no narrow state.
    """

    state_axes: ClassVar = {"mean": (1,), "covariance": (1,)}
    support: ClassVar[Support] = NUMBERS
    is_location_scale: ClassVar[bool] = True
    holdable: ClassVar = frozenset({"mean", "covariance"})
    takes_units: ClassVar[bool] = True

    covariance: CovarianceType = "full"
    min_covariance: float = 1e-6

    def __post_init__(self) -> None:
        if self.covariance not in _COVARIANCES:
            raise ValueError(
                f"covariance is {self.covariance!r}; expected one of {', '.join(_COVARIANCES)}"
                f"{nearest(self.covariance, _COVARIANCES)}"
            )
        if not 0.0 < self.min_covariance < 1.0:
            raise ValueError(f"min_covariance is {self.min_covariance}; expected a fraction between 0 and 1.")

    def check(self) -> None:
        mean, scatter = self.parameters["mean"], self.parameters["covariance"]
        shape = tuple(mean.shape) if self._by_axis else (*mean.shape, *mean.shape[2:])
        if mean.ndim != 3 or tuple(scatter.shape) != shape:
            found = f"{tuple(scatter.shape[1:])} for means {tuple(mean.shape[1:])}"
            raise ValueError(f"{self.covariance} covariance has shape {found}; expected {shape[1:]}.")
        if not self._by_axis:
            _refuse_asymmetric(scatter)
        smallest = scatter if self._by_axis else torch.linalg.eigvalsh(scatter)
        if bool((smallest <= 0).any()):
            raise ValueError("covariance is not positive definite in every state.")

    def constraints(self) -> dict[str, Constraint]:
        return {"mean": "real", "covariance": "positive" if self._by_axis else "matrix"}

    def shared_axes(self) -> dict[str, tuple[int, ...]]:
        axis = {"tied": 1, "spherical": 2}.get(self.covariance)
        return {} if axis is None else {"covariance": (axis,)}

    def sizes(self) -> dict[str, Tensor]:
        covariance = self.parameters["covariance"]
        return {"mean": (covariance if self._by_axis else covariance.diagonal(dim1=-2, dim2=-1)).sqrt()}

    @property
    def n_features(self) -> int:
        return self.parameters["mean"].shape[-1]

    @property
    def mean_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("mean")

    @property
    def covariance_(self) -> np.ndarray:
        """(K, F, F) full, (K, F) diag, (F, F) tied, (K,) spherical."""
        value = self.fitted("covariance")
        return value[0] if self.covariance == "tied" else value[:, 0] if self.covariance == "spherical" else value

    @abstractmethod
    def radial(self, n_observed: int) -> Radial:
        """The density's fall with distance in this many dimensions."""

    def improved(self, sequences: Sequences | Units, weights: StateSeries) -> tuple[Self, Measured]:
        """This law with its shape parameters improved, and the moments of the rows under it."""
        return self, self.measured(sequences, self._geometries(sequences), weights)

    def log_potentials(self, sequences: Sequences | Units, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        mean = self.parameters["mean"]
        size = sequences.table_size(mean.shape[0])
        density = mean.new_empty(*size, mean.shape[1]) if out is None else out
        if not sequences.is_complete:
            density.zero_()
        for geometry in self._geometries(sequences):
            _measures(sequences, geometry).fill_log_density(density, sequences, geometry, self._radial(geometry))
        return density

    def measured(self, sequences: Sequences | Units, geometries: list[Geometry], weights: StateSeries) -> Measured:
        """Moments of each block of rows for posterior weights (R, N, K)."""
        return [
            (geometry, _measures(sequences, geometry).moments(sequences, geometry, self._radial(geometry), weights))
            for geometry in geometries
        ]

    def climb(self, sequences: Sequences | Units, weights: StateSeries) -> Tensor:
        """By the moments of the rows: docs/maths/em.md."""
        here = self.with_parameters(**{name: value.detach() for name, value in self.parameters.items()})
        total = weights.new_zeros(())
        for geometry, sums in here.measured(sequences, here._geometries(sequences), weights):
            total = total + self._radial_climb(geometry, sums) - 0.5 * self._scatter_climb(geometry, sums)
        return total.sum(-1)

    def _radial_climb(self, geometry: Geometry, sums: Moments) -> Tensor:
        """(R, K) whose slope is that of the weighted density in the parameters of its shape."""
        return sums.weight.new_zeros(())

    def _scatter_climb(self, geometry: Geometry, sums: Moments) -> Tensor:
        """(R, K) weighted squared distances and log-determinants, as they change with mean and covariance."""
        mean, covariance = self.parameters["mean"], self.parameters["covariance"]
        if self._by_axis:
            shift = mean - geometry.mean
            square = sums.second - 2.0 * shift * sums.first + sums.cell_scaled * shift**2
            return (sums.cell_weight * covariance.log() + square / covariance).sum(-1)
        moved = Geometry.by_matrices(geometry.block, mean, covariance)
        shift, whitener = moved.mean - geometry.mean, moved.precision
        cross = sums.first.unsqueeze(-1) * shift.unsqueeze(-2)
        square = sums.second - cross - cross.mT
        square = square + sums.scaled[..., None, None] * (shift.unsqueeze(-1) * shift.unsqueeze(-2))
        return sums.weight * moved.log_variance.sum(-1) + ((whitener @ square) * whitener).sum((-2, -1))

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        sequences = sequences.tamed
        mean, variance = sequences.moments[0], sequences.scale**2
        if self.covariance == "spherical":
            variance = variance.mean().expand_as(variance)
        r = labels.shape[0]
        start = self._with_moments(
            mean.expand(r, n_states, -1), variance.expand(r, n_states, -1) if self._by_axis else
            torch.diag(variance).expand(r, n_states, -1, -1)
        )  # fmt: skip
        weights = torch.nn.functional.one_hot(labels, n_states).to(mean.dtype)
        fitted = Elliptical.maximise(start, sequences, weights)
        spread = 0.9 * fitted.parameters["covariance"] + 0.1 * start.parameters["covariance"]
        return fitted.with_parameters(covariance=spread)

    def maximise(self, sequences: Sequences | Units, counts: StateSeries, held: Collection[str] = ()) -> Self:
        counts = _without_rounding(sequences, counts)
        law, measured = (Elliptical if "dof" in held else type(self)).improved(self, sequences, counts)
        if not measured:
            return law
        old_mean, old = self.parameters["mean"], self.parameters["covariance"]
        moves = "mean" not in held
        if self._by_axis:
            mean, scatter, mass = axis_scatter(measured, old_mean, moves=moves)
            if self.covariance == "spherical":
                scatter, mass = (x.sum(-1, keepdim=True).expand_as(x) for x in (scatter, mass))
        else:
            mean, scatter, weight = matrix_scatter(measured, old_mean, old, moves=moves)
            if self.covariance == "tied":
                scatter, weight = scatter.sum(1, keepdim=True).expand_as(scatter), weight.sum(1, keepdim=True)
            mass = weight.expand(old.shape[:2])[..., None, None]
        if "covariance" in held:
            return law.with_parameters(mean=mean)
        new = self._floored(scatter / mass.clamp(min=_EMPTY), sequences)
        return law.with_parameters(mean=mean, covariance=torch.where(mass > _EMPTY, new, old))

    def confined(self, sequences: Sequences | Units) -> Self:
        return self.with_parameters(covariance=self._floored(self.parameters["covariance"], sequences))

    def is_proper(self) -> Tensor:
        """(R,) models whose every scatter is positive definite."""
        covariance = self.parameters["covariance"].detach()
        if self._by_axis or self.n_features == 1:
            return (covariance > 0).flatten(1).all(1)
        return (torch.linalg.cholesky_ex(covariance).info == 0).flatten(1).all(1)

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's variance lies at its floor although the data vary."""
        return self._floored_states(sequences).any(1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        covariance = self.parameters["covariance"]
        if self.covariance == "tied":
            return super().suspects(sequences)
        narrow = narrow_axes(covariance, sequences) if self._by_axis else narrow_directions(covariance, sequences)
        return narrow.flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        if self.covariance == "tied":
            return self
        mean, covariance = self.parameters["mean"], self.parameters["covariance"]
        if not self._by_axis:
            made = widened_matrices(mean, covariance, self._floored_states(sequences), sequences, weights)
        else:
            made = widened_axes(mean, covariance, self._least(sequences), sequences, weights)
            if self.covariance == "spherical":
                made = made.mean(-1, keepdim=True).expand_as(made)
        return self.with_parameters(covariance=made)

    def degeneracy(self, sequences: Sequences) -> str:
        floored = self._floored_states(sequences)[0].nonzero().flatten().tolist()
        on_state = {state: self._rows_within(sequences, state) for state in floored}
        share = 0.5 * sequences.n_observed_rows / self.parameters["mean"].shape[1]
        few = [
            f"state {state} lives on {len(rows)} of {sequences.n_rows} rows (the first is row {int(rows[0])})"
            for state, rows in on_state.items()
            if 0 < len(rows) < share
        ]
        if few:
            return f"{'; '.join(few)}: mark these rows missing (NaN) where they are no regime, or use fewer states"
        return (
            f"most rows of states {floored} are one value, and the likelihood hangs on min_covariance: add noise of "
            "the size of the rounding before comparing models by it, or choose a family for few values"
        )

    def _floored_states(self, sequences: Sequences) -> Tensor:
        """(R, K) whose variance lies at its floor in features that vary."""
        varying, scale = sequences.moments[1] > 0, sequences.floor_scale
        covariance = self.parameters["covariance"]
        if not bool(varying.any()):
            return torch.zeros(covariance.shape[:2], dtype=torch.bool, device=covariance.device)
        if self.covariance == "spherical":
            smallest = covariance[..., 0] / (scale**2).mean()
        elif self._by_axis:
            smallest = (covariance / scale**2)[..., varying].amin(-1)
        else:
            standard = covariance / (scale[:, None] * scale)
            smallest = eigvalsh(standard[..., varying, :][..., varying]).amin(-1)
        return smallest <= AT_FLOOR * self.min_covariance

    def _rows_within(self, sequences: Sequences, state: int) -> Tensor:
        """Rows whose observed cells all lie within a few standard deviations of this state of the first model."""
        distance = (sequences.values - self.parameters["mean"][0, state]).abs()
        covariance = self.parameters["covariance"][0, state]
        variance = covariance if self._by_axis else covariance.diagonal()
        near = ((distance <= _REACH * variance.sqrt()) | ~sequences.observed).all(1) & sequences.observed.any(1)
        return near.nonzero().flatten()

    def moments(self) -> tuple[Tensor, Tensor]:
        covariance = self.parameters["covariance"]
        variance = covariance if self._by_axis else covariance.diagonal(dim1=-2, dim2=-1)
        return self.parameters["mean"], variance.sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        mean, covariance = self.parameters["mean"][0], self.parameters["covariance"][0]
        factor = torch.diag_embed(covariance.sqrt()) if self._by_axis else torch.linalg.cholesky(covariance)
        noise = torch.randn(len(states), self.n_features, generator=generator, dtype=mean.dtype)
        noise = noise / self.sampled_precision(states, generator).sqrt()[:, None]
        return mean[states] + (factor[states] @ noise[..., None]).squeeze(-1)

    def sampled_precision(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """(N,) latent precision of each row."""
        return torch.ones(len(states), dtype=torch.float64)

    def order(self) -> Tensor:
        """By the first feature's mean where the means lie apart, else by scatter, calm first."""
        mean, covariance = self.parameters["mean"][0], self.parameters["covariance"][0]
        variance = covariance if self._by_axis else covariance.diagonal(dim1=-2, dim2=-1)
        if bool(mean[:, 0].var(unbiased=False) > variance[:, 0].mean()):
            return mean[:, 0].argsort(stable=True)
        return variance.log().sum(-1).argsort(stable=True)

    def n_parameters(self) -> int:
        _, k, f = self.parameters["mean"].shape
        scatter = {"full": k * f * (f + 1) // 2, "diag": k * f, "tied": f * (f + 1) // 2, "spherical": k}
        return k * f + scatter[self.covariance]

    @property
    def _by_axis(self) -> bool:
        return self.covariance in ("diag", "spherical")

    def _floored(self, covariance: Tensor, sequences: Sequences | Units) -> Tensor:
        """The likeliest scatter at or above the floor, given the likeliest of all."""
        if not self._by_axis:
            return floor_eigenvalues(covariance, sequences.floor_scale, self.min_covariance)
        return torch.maximum(covariance, self._least(sequences))

    def _least(self, sequences: Sequences | Units) -> Tensor:
        """(F,) or (R, 1, F) the least variance along each axis."""
        square = sequences.floor_scale**2
        own = square if self.covariance == "diag" else square.mean(-1, keepdim=True).expand_as(square)
        return self.min_covariance * own

    def _geometries(self, sequences: Sequences | Units) -> list[Geometry]:
        """Made once for the E-step and the M-step that follows it."""
        made: tuple[Sequences | Units, list[Geometry]] | None = self.__dict__.get("_made")
        if made is None or made[0] is not sequences:
            mean, covariance = self.parameters["mean"], self.parameters["covariance"]
            if self._by_axis:
                geometries = [Geometry.by_variances(block, mean, covariance) for block in sequences.rows_by_count]
            else:
                geometries = [Geometry.by_matrices(block, mean, covariance) for block in sequences.patterns]
            made = self.__dict__["_made"] = (sequences, geometries)
        return made[1]

    def _radial(self, geometry: Geometry) -> Radial:
        return self.radial(geometry.block.n_observed)

    def _with_moments(self, mean: Tensor, covariance: Tensor) -> Self:
        return self.with_parameters(mean=mean, covariance=covariance)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian(Elliptical):
    """Multivariate normal emissions."""

    name: ClassVar[str] = "gaussian"
    sufficient: ClassVar[Sufficient] = "moments"

    @classmethod
    def from_parameters(cls, mean: Any, covariance: Any, **hyperparameters: Any) -> Self:
        """``mean`` (K, F); ``covariance`` (K, F, F) full, (K, F) diag or (K,) spherical."""
        made = cls(**_moments(mean, covariance), **hyperparameters)
        made.check()
        return made

    def radial(self, n_observed: int) -> Radial:
        mean = self.parameters["mean"]
        return Radial(mean.new_full(mean.shape[:2], -0.5 * _LOG_2PI * n_observed))

    def tails(self, sequences: Sequences) -> Tails:
        mean, sd = (x[0].T for x in self.moments())
        return normal_tails(sequences.values.unsqueeze(-1), mean, sd)


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentT(Elliptical):
    """Multivariate Student-t emissions; ``covariance`` is the scale matrix, parameter ``dof`` (R, K) its degrees of
    freedom, estimated within ``dof_bounds`` (ECME, Liu & Rubin 1995)."""

    name: ClassVar[str] = "student_t"
    state_axes: ClassVar = {"mean": (1,), "covariance": (1,), "dof": (1,)}
    holdable: ClassVar = frozenset({"mean", "covariance", "dof"})

    dof_bounds: tuple[float, float] = (0.5, 1000.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.dof_bounds[0] < self.dof_bounds[1]:
            raise ValueError(f"dof_bounds are {self.dof_bounds}; expected two rising positive numbers.")

    @classmethod
    def from_parameters(cls, mean: Any, covariance: Any, dof: Any, **hyperparameters: Any) -> Self:
        """``mean`` (K, F); ``covariance`` the scale (K, F, F) full, (K, F) diag or (K,) spherical; ``dof`` (K,)."""
        made = cls(**_moments(mean, covariance), **hyperparameters)
        made = made.with_parameters(dof=as_parameter(dof, "dof", (1,)))
        made.check()
        return made

    def check(self) -> None:
        super().check()
        dof = self.parameters["dof"]
        if dof.shape != self.parameters["mean"].shape[:2] or bool((dof <= 0).any()):
            raise ValueError(f"dof is {dof.tolist()}; expected one positive number for each state.")

    @property
    def dof_(self) -> np.ndarray:
        """(K,) degrees of freedom."""
        return self.fitted("dof")

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"dof": self.dof_bounds}

    @property
    def least_dof(self) -> float:
        return self.dof_bounds[0]

    def alone(self, sequences: Sequences, weights: StateSeries) -> Self:
        """The likelier of two laws of each state: of all its rows alike, or of their middle with the others far out."""
        plain = self.maximise(sequences, weights)
        heavy = self.with_parameters(
            mean=_medians(sequences, weights, self.parameters["mean"]),
            covariance=torch.zeros_like(self.parameters["covariance"]),
            dof=torch.full_like(self.parameters["dof"], self.least_dof),
        ).confined(sequences)
        for _ in range(_FIRST_STEPS):
            heavy = heavy.maximise(sequences, weights)
        likelier = _weighted(heavy, sequences, weights) > _weighted(plain, sequences, weights)
        chosen = {}
        for name, value in plain.parameters.items():
            of_state = likelier.view(*likelier.shape, *[1] * (value.ndim - 2))
            chosen[name] = torch.where(of_state, heavy.parameters[name], value)
        return plain.with_parameters(**chosen)

    def moments(self) -> tuple[Tensor, Tensor]:
        """NaN where the degrees of freedom leave none, infinite where the variance is."""
        mean, scale = super().moments()
        dof = self.parameters["dof"].unsqueeze(-1)
        wide = torch.where(dof > 2.0, (dof / (dof - 2.0)).sqrt(), torch.inf)
        return torch.where(dof > 1.0, mean, torch.nan), torch.where(dof > 1.0, scale * wide, torch.nan)

    def radial(self, n_observed: int) -> Radial:
        dof = self.parameters["dof"]
        return Radial(_log_constant(dof, n_observed), dof)

    def tails(self, sequences: Sequences) -> Tails:
        centre, scale = (x[0].T for x in super().moments())
        return student_tails(sequences.values.unsqueeze(-1), centre, scale, self.parameters["dof"][0])

    def improved(self, sequences: Sequences | Units, weights: StateSeries) -> tuple[Self, Measured]:
        geometries = self._geometries(sequences)
        here = self.measured(sequences, geometries, weights)
        law = self.with_parameters(dof=self._proposed_dof(here))
        there = law.measured(sequences, geometries, weights)
        better = law._shape_value(there) > self._shape_value(here)
        kept = [(geometry, new.where(better, old)) for (geometry, new), (_, old) in zip(there, here, strict=True)]
        return self.with_parameters(dof=torch.where(better, law.parameters["dof"], self.parameters["dof"])), kept

    def _proposed_dof(self, measured: Measured) -> Tensor:
        """One Newton step in log(dof) on the exact weighted log-density: docs/maths/em.md."""
        dof = self.parameters["dof"]
        slope, bend = torch.zeros_like(dof), torch.zeros_like(dof)
        for geometry, sums in measured:
            n = geometry.block.n_observed
            profile = torch.digamma(0.5 * (dof + n)) - torch.digamma(0.5 * dof) - n / dof
            curvature = 0.5 * (_trigamma(0.5 * (dof + n)) - _trigamma(0.5 * dof)) + n / dof**2
            slope += 0.5 * (profile * sums.weight - sums.spread + (dof + n) / dof * sums.share)
            bend += 0.5 * (curvature * sums.weight + 2.0 * sums.share / dof)
            bend -= 0.5 * (dof + n) / dof**2 * (2.0 * sums.share - sums.share_squared)
        gradient, bend = dof * slope, dof**2 * bend + dof * slope
        step = torch.where(bend < 0, -gradient / bend.clamp(max=-1e-12), gradient.sign()).clamp(-1.0, 1.0)
        return (dof.log() + step).exp().clamp(*self.dof_bounds)

    def _radial_climb(self, geometry: Geometry, sums: Moments) -> Tensor:
        dof, n = self.parameters["dof"], geometry.block.n_observed
        here = dof.detach()
        return _log_constant(dof, n) * sums.weight - 0.5 * dof * (sums.spread - (here + n) / here * sums.share)

    def _shape_value(self, measured: Measured) -> Tensor:
        """(R, K) weighted log-density, without what does not depend on the degrees of freedom."""
        value = torch.zeros_like(self.parameters["dof"])
        for geometry, sums in measured:
            n = geometry.block.n_observed
            dof = self.parameters["dof"]
            value += _log_constant(dof, n) * sums.weight - 0.5 * (dof + n) * sums.spread
        return value

    def sampled_precision(self, states: Tensor, generator: torch.Generator) -> Tensor:
        half = 0.5 * self.parameters["dof"][0][states]
        return torch._standard_gamma(half, generator=generator) / half

    def n_parameters(self) -> int:
        return super().n_parameters() + self.parameters["dof"].shape[-1]

    def constraints(self) -> dict[str, Constraint]:
        return {**super().constraints(), "dof": "positive"}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        law = super().with_free(coordinates)
        return law.with_parameters(dof=law.parameters["dof"].clamp(*self.dof_bounds))

    def _with_moments(self, mean: Tensor, covariance: Tensor) -> Self:
        return self.with_parameters(mean=mean, covariance=covariance, dof=torch.full_like(mean[..., 0], 10.0))


def _weighted(law: Elliptical, sequences: Sequences, weights: StateSeries) -> Tensor:
    """(R, K) the log-density of each state's rows."""
    return (weights * law.log_potentials(sequences)).sum(1)


def _medians(sequences: Sequences, weights: StateSeries, otherwise: Tensor) -> Tensor:
    """(R, K, F) values in the middle of each state's rows, for weights of 0 or 1; ``otherwise`` where it has none."""
    cells = sequences.values.masked_fill(~sequences.observed, torch.nan)
    found = otherwise.clone()
    for restart, state in ((weights > 0).any(1)).nonzero().tolist():
        middle = cells[weights[restart, :, state] > 0].nanmedian(0).values
        found[restart, state] = torch.where(middle.isnan(), found[restart, state], middle)
    return found


def _without_rounding(sequences: Sequences | Units, weights: StateSeries) -> StateSeries:
    """Where values are wild, no weights but those that are more than rounding, of which their squares make much."""
    if all(one.tamed is one for one, _ in sequences.parts(weights)):
        return weights
    weights = weights.clone()
    for one, own in sequences.parts(weights):
        if one.tamed is not one:
            own.masked_fill_(own <= _ROUNDING, 0.0)
    return weights


def _measures(sequences: Sequences | Units, geometry: Geometry) -> ModuleType:
    return native if native.supports(sequences, geometry) else reference


def _log_constant(dof: Tensor, n_observed: int) -> Tensor:
    """Log-normaliser of a unit-scatter Student-t in ``n_observed`` dimensions."""
    return torch.lgamma(0.5 * (dof + n_observed)) - torch.lgamma(0.5 * dof) - 0.5 * n_observed * (dof * np.pi).log()


def _trigamma(x: Tensor) -> Tensor:
    return torch.polygamma(1, x)


def _refuse_asymmetric(scatter: Tensor) -> None:
    size = scatter.diagonal(dim1=-2, dim2=-1).abs().sqrt()
    skew = (scatter - scatter.mT).abs() > _ASYMMETRY * size.unsqueeze(-1) * size.unsqueeze(-2)
    if bool(skew.any()):
        _, state, row, column = skew.nonzero()[0].tolist()
        one, other = float(scatter[0, state, row, column]), float(scatter[0, state, column, row])
        raise ValueError(
            f"covariance of state {state} is not symmetric: [{row}, {column}] is {one:g}, [{column}, {row}] is "
            f"{other:g}; expected the same, such as (C + C.T) / 2 where rounding made the difference."
        )


def _moments(mean: Any, covariance: Any) -> dict[str, Any]:
    centre, scatter = as_parameter(mean, "mean", (2,)), as_parameter(covariance, "covariance", (1, 2, 3))
    k, f = centre.shape[1:]
    kinds: dict[int, tuple[CovarianceType, tuple[int, ...]]] = {
        1: ("spherical", (k,)), 2: ("diag", (k, f)), 3: ("full", (k, f, f)),
    }  # fmt: skip
    kind, shape = kinds[scatter.ndim - 1]
    if tuple(scatter.shape[1:]) != shape:
        raise ValueError(f"covariance has shape {tuple(scatter.shape[1:])} for means {(k, f)}; expected {shape}.")
    if kind == "spherical":
        scatter = scatter[..., None].expand(-1, -1, f).clone()
    return {"parameters": {"mean": centre, "covariance": scatter}, "covariance": kind}
