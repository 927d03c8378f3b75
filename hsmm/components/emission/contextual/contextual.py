"""Emissions whose numbers are linear in the context of their row."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step
from hsmm.components.base import Constraint
from hsmm.components.emission.base import Emission
from hsmm.components.emission.columnwise import Columnwise
from hsmm.components.emission.contextual.rows import ROW_LAWS, RowLaw, squares
from hsmm.components.emission.effect import Effect, chances_of, effects_of
from hsmm.components.emission.elliptical import Elliptical, StudentT
from hsmm.components.emission.spikes import narrow_axes, widened_about
from hsmm.components.emission.support import Support
from hsmm.components.head import LARGEST_SLOPE, LinearHead, newton_step, resolved, with_constant
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

_STEP_SIZES = (1.0, 0.25, 0.05, 0.005)
_ROUNDING = 1e-14


@dataclass(frozen=True, kw_only=True, eq=False)
class Contextual(LinearHead, Emission):
    """A ``family`` whose numbers are linear in the context of the row: mean and log-scale of the Gaussian and
    Student-t laws (without covariances), log-mean and log-shape of counts and waiting times, logits.

    ``bias`` (R, K, F, P) and ``coef`` (R, K, F, P, C) are those numbers, see
    :class:`~hsmm.components.head.LinearHead`. Laws with a scale have them in units of the data of the fit, ``location``
    and ``unit`` (R, F), and the log-scale at least ``floor`` (R, F); degrees of freedom ``dof`` (R, K) have no context.
    """

    name: ClassVar[str] = "contextual"

    family: str | Emission = "gaussian"

    def __post_init__(self) -> None:
        super().__post_init__()
        law = resolved("emission", self.family)
        if law.name not in ROW_LAWS:
            raise ValueError(f"family is {law.name!r}; expected one of {', '.join(ROW_LAWS)}.")
        if isinstance(law, Elliptical) and not isinstance(self.family, str) and law.covariance != "diag":
            raise ValueError(f"family has {law.covariance} covariance; expected diag: a head moves single scales.")

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        axes: dict[str, tuple[int, ...]] = {"bias": (1,), "coef": (1,), "centre": (), "spread": ()}
        if self._row_law.has_unit:
            axes |= {"location": (), "unit": (), "floor": ()}
        return axes | {"dof": (1,)} if self._has_dof else axes

    @property
    def support(self) -> Support:  # type: ignore[override]
        return self._law.support

    @property
    def is_location_scale(self) -> bool:  # type: ignore[override]
        return self._law.is_location_scale

    @property
    def n_features(self) -> int:
        return self.parameters["bias"].shape[2]

    def example(self, n_rows: int, generator: torch.Generator) -> Sequences:
        drawn = torch.randn((n_rows, 2), generator=generator, dtype=torch.float64)
        return self._law.example(n_rows, generator).with_covariates(drawn * torch.tensor([1.0, 50.0]) + 3.0)

    def typical(self) -> Emission:
        """The law at the mean context."""
        numbers = self._limited(self.parameters["bias"].unsqueeze(1))[:, 0]
        return self._law.with_parameters(**self._own_parameters(numbers))

    def moments(self) -> tuple[Tensor, Tensor] | None:
        return self.typical().moments()

    def effects(self, sequences: Sequences) -> Sequence[Effect]:
        """Mean and spread, the latter where the head moves it, or chances; of a Student-t law centre and scale, which
        it always has."""
        alone = self.take(torch.zeros(1, dtype=torch.int64))
        own = alone._own_parameters(alone._limited(alone.numbers(alone.standard(sequences)))[0])
        if self._row_law.are_logits:
            return chances_of(own["probability"])
        if "probability" in own:
            return [replace(chance, symbol=1) for chance in effects_of("probability", own["probability"], "logit")]
        moments = self._law.with_parameters(**own).moments()
        assert moments is not None
        mean, spread = (own["mean"], own["covariance"].sqrt()) if self._has_dof else moments
        found = effects_of("mean", mean, "identity" if self._row_law.has_unit else "log")
        if len(self._row_law.bounds) > 1:
            found += effects_of("scale" if self._has_dof else "standard deviation", spread, "log")
        return found

    def order(self) -> Tensor:
        return self.typical().order()

    def points(self, sequences: Sequences) -> Tensor:
        return self._law.points(sequences)

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        self._check_values(sequences)
        numbers = self._limited(self.numbers(self.standard(sequences)))
        density = self._log_density(sequences, numbers)
        return density if out is None else out.copy_(density)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        law = self._law.initialise(sequences, labels, n_states)
        made = self
        if isinstance(law, Elliptical):
            r, mean, scale = len(labels), sequences.moments[0], sequences.scale
            least = 0.5 * math.log(law.min_covariance) + (sequences.floor_scale / scale).log()
            units = {"location": mean, "unit": scale, "floor": least}
            made = made.with_parameters(**{name: x.expand(r, -1).clone() for name, x in units.items()})
        if self._has_dof:
            made = made.with_parameters(dof=law.parameters["dof"])
        numbers = made._row_law.numbers(made._standardised(law.parameters))
        made = made.with_parameters(bias=numbers).beside(sequences)
        return made.at(made.tamed(made.point()))

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        """A damped Newton step for posteriors (R, N, K) of the states, never downhill; of the Student-t law on rows
        weighted by their expected precision, and one for its degrees of freedom."""
        context, bias = self.standard(sequences), self.parameters["bias"]
        r, k, f, p = bias.shape
        values, observed = self._values(sequences), sequences.observed.unsqueeze(1)
        precision = self._precision(sequences, context) if self._has_dof else None
        law = self._row_law

        def value(numbers: Tensor, rows: Tensor) -> Tensor:
            own = self._limited(numbers.unflatten(2, (k, f)))
            density = law.log_density(values[rows], own)
            if precision is not None:
                density = density - 0.5 * (precision[:, rows].unsqueeze(-1) - 1.0) * squares(values[rows], own)
            weight = counts[:, rows].unsqueeze(-1)
            return torch.where(observed[rows] & (weight > 0), weight * density, 0.0).flatten(2)

        def tamed(point: Tensor) -> Tensor:
            return self.tamed(point.unflatten(1, (k, f))).flatten(1, 2)

        cells = r * k * f * p
        found = newton_step(self.point().flatten(1, 2), with_constant(context), value, self.penalty, tamed, cells)
        made = self.at(found.unflatten(1, (k, f)))
        return made._with_better_dof(sequences, context, counts) if self._has_dof else made

    def tamed(self, point: Tensor) -> Tensor:
        if self._row_law.are_logits:
            point = point - point.mean(-2, keepdim=True)
        low, high = self._edges(point[..., 0])
        bias = point[..., 0].maximum(low).minimum(high).unsqueeze(-1)
        slopes = point[..., 1:].clamp(-LARGEST_SLOPE, LARGEST_SLOPE)
        return torch.cat([bias, slopes], -1)

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's scale lies at its floor at the mean context."""
        bias = self.parameters["bias"]
        if not self._row_law.has_unit:
            return torch.zeros(len(bias), dtype=torch.bool, device=bias.device)
        return (bias[..., 1] <= self.parameters["floor"].unsqueeze(1) + 1e-3).flatten(1).any(1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        if not self._row_law.has_unit:
            return super().suspects(sequences)
        return narrow_axes(self._squared(self.parameters["bias"][..., 1]), sequences).flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Judged by what the context leaves of a row, and the scale at its mean."""
        if not self._row_law.has_unit:
            return self
        context, bias, unit = self.standard(sequences), self.parameters["bias"], self.parameters["unit"]
        centre = (
            self._limited(self.numbers(context))[..., 0] * unit[:, None, None]
            + self.parameters["location"][:, None, None]
        )
        least = self._squared(self.parameters["floor"].unsqueeze(1))[0, 0]
        variance = self._squared(bias[..., 1])
        wide = widened_about(centre, variance, least, sequences, weights, n_slopes=context.shape[-1])
        scale = bias[..., 1] + 0.5 * (wide / variance).log()
        return self.with_parameters(bias=torch.stack([bias[..., 0], scale], -1))

    def _squared(self, log_scale: Tensor) -> Tensor:
        """(R, K, F) variances in the unit of the data."""
        return (2.0 * log_scale).exp() * self.parameters["unit"].unsqueeze(1).square()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        n = len(states)
        blank = torch.zeros(n, self.n_features, dtype=torch.float64)
        rows = Sequences(blank, blank.bool(), torch.tensor([0, n]), covariates)
        numbers = self._limited(self.numbers(self.standard(rows)[:1]))[0, torch.arange(n), states]
        alone = self.take(torch.zeros(1, dtype=torch.int64))
        own = alone._own_parameters(numbers.unsqueeze(0), states)
        return self._law.with_parameters(**own).sample(torch.arange(n), generator)

    def n_parameters(self) -> int:
        _, k, f, p = self.parameters["bias"].shape
        numbers = k * f * (p - self._row_law.are_logits)
        return numbers * (1 + self.n_slopes()) + k * self._has_dof

    def constraints(self) -> Mapping[str, Constraint]:
        dof: dict[str, Constraint] = {"dof": "positive"}
        return {**super().constraints(), **(dof if self._has_dof else {})}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        own = dict(coordinates)
        made = self
        if "dof" in own:
            assert isinstance(self._law, StudentT)
            made = made.with_parameters(dof=own.pop("dof").exp().clamp(*self._law.dof_bounds))
        return LinearHead.with_free(made, own) if own else made

    def check(self) -> None:
        bias = self.parameters["bias"]
        if bias.ndim != 4 or not (self._row_law.are_logits or bias.shape[-1] == len(self._row_law.bounds)):
            wanted = "M" if self._row_law.are_logits else len(self._row_law.bounds)
            found = tuple(bias.shape[1:])
            raise ValueError(f"contextual {self._law.name} has a bias of {found}; expected (K, F, {wanted}).")
        self.check_head(tuple(bias.shape[1:]))

    @cached_property
    def _law(self) -> Emission:
        if isinstance(self.family, str) and ROW_LAWS[self.family].has_unit:
            return replace(resolved("emission", self.family), covariance="diag")
        return resolved("emission", self.family)

    @property
    def _row_law(self) -> RowLaw:
        return ROW_LAWS[self._law.name]

    @property
    def _has_dof(self) -> bool:
        return isinstance(self._law, StudentT)

    def _check_values(self, sequences: Sequences) -> None:
        if isinstance(self._law, Columnwise):
            self._law.check_values(sequences)

    def _values(self, sequences: Sequences) -> Tensor:
        """(N, F) in units of the fit; something of the support where they are missing."""
        values = torch.where(sequences.observed, sequences.values, self._law.support.inside)
        if not self._row_law.has_unit:
            return values
        return (values - self.parameters["location"][0]) / self.parameters["unit"][0]

    def _edges(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Least and largest numbers, to stand beside (R, …, F, P)."""
        limits = self._row_law.limits(like.shape[-1])
        low, high = (like.new_tensor(edge).expand_as(like) for edge in zip(*limits, strict=True))
        if self._row_law.has_unit:
            floor = self.parameters["floor"]
            floor = floor.view(len(floor), *[1] * (like.ndim - 3), -1).expand(like.shape[:-1])
            low = torch.stack([low[..., 0], floor], -1)
        return low, high

    def _limited(self, numbers: Tensor) -> Tensor:
        """Numbers (R, N, K, F, P) of single rows within their bounds."""
        low, high = self._edges(numbers)
        return numbers.maximum(low).minimum(high)

    def _log_density(self, sequences: Sequences, numbers: Tensor) -> Tensor:
        """(R, N, K)"""
        values, observed = self._values(sequences), sequences.observed.unsqueeze(1)
        if not self._has_dof:
            density = torch.where(observed, self._row_law.log_density(values, numbers), 0.0).sum(-1)
        else:
            density = self._student(sequences, numbers, self.parameters["dof"])
        if not self._row_law.has_unit:
            return density
        return density - torch.where(sequences.observed, self.parameters["unit"][0].log(), 0.0).sum(-1).unsqueeze(-1)

    def _student(self, sequences: Sequences, numbers: Tensor, dof: Tensor) -> Tensor:
        """(R, N, K) of values in units of the fit."""
        observed = sequences.observed.unsqueeze(1)
        squared = torch.where(observed, squares(self._values(sequences), numbers), 0.0).sum(-1)
        scales = torch.where(observed, numbers[..., 1], 0.0).sum(-1)
        n, dof = sequences.observed.sum(-1).unsqueeze(-1), dof.unsqueeze(1)
        constant = torch.lgamma(0.5 * (dof + n)) - torch.lgamma(0.5 * dof) - 0.5 * n * (dof * math.pi).log()
        return torch.where(n > 0, constant - scales - 0.5 * (dof + n) * torch.log1p(squared / dof), 0.0)

    def _precision(self, sequences: Sequences, context: Tensor) -> Tensor:
        """(R, N, K) expected latent precision of each row."""
        numbers = self._limited(self.numbers(context))
        observed = sequences.observed.unsqueeze(1)
        squared = torch.where(observed, squares(self._values(sequences), numbers), 0.0).sum(-1)
        dof = self.parameters["dof"].unsqueeze(1)
        return (dof + sequences.observed.sum(-1).unsqueeze(-1)) / (dof + squared)

    def _with_better_dof(self, sequences: Sequences, context: Tensor, counts: Tensor) -> Self:
        """A guarded Newton step in log(dof) on the exact weighted log-density."""
        assert isinstance(self._law, StudentT)
        low, high = self._law.dof_bounds
        numbers = self._limited(self.numbers(context))

        def value(log_dof: Tensor) -> Tensor:
            return (counts * self._student(sequences, numbers, log_dof.exp())).sum(1)

        with torch.enable_grad():
            here = self.parameters["dof"].log().detach().requires_grad_()
            reached = value(here)
            (slope,) = torch.autograd.grad(reached.sum(), here, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), here)
        point, slope = here.detach(), slope.detach()
        step = torch.where(bend < 0, -slope / bend.clamp(max=-1e-12), slope.sign()).clamp(-1.0, 1.0)

        def trial(size: float) -> Tensor:
            return (point + size * step).clamp(math.log(low), math.log(high))

        found = longest_step(point, reached.detach(), trial, value, _STEP_SIZES, choose_entries, _ROUNDING)[0]
        return self.with_parameters(dof=found.exp())

    def _standardised(self, own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The family's own parameters in units of the fit."""
        if not self._row_law.has_unit:
            return own
        location, unit = (self.parameters[name].unsqueeze(1) for name in ("location", "unit"))
        return {"mean": (own["mean"] - location) / unit, "covariance": own["covariance"] / unit.square()}

    def _own_parameters(self, numbers: Tensor, states: Tensor | None = None) -> dict[str, Tensor]:
        """The family's own parameters of numbers (R, K, F, P), in units of the data; of rows in these ``states`` where
        the second axis is of rows."""
        own = self._row_law.parameters(numbers)
        if self._row_law.has_unit:
            location, unit = (self.parameters[name].unsqueeze(1) for name in ("location", "unit"))
            own = {"mean": own["mean"] * unit + location, "covariance": own["covariance"] * unit.square()}
        if self._has_dof:
            dof = self.parameters["dof"]
            own["dof"] = dof if states is None else dof[:, states]
        return own
