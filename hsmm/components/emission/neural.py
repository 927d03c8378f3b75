"""Normal emissions whose mean a network makes of the state and, where it reads one, of the context of the row."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from hsmm.components.base import Constraint
from hsmm.components.emission.base import Emission
from hsmm.components.emission.contextual.rows import ROW_LAWS
from hsmm.components.emission.effect import Effect, effects_of
from hsmm.components.emission.elliptical import Gaussian
from hsmm.components.emission.spikes import narrow_axes, widened_about
from hsmm.components.emission.support import NUMBERS, Support
from hsmm.components.emission.tails import Tails, normal_tails
from hsmm.components.network import StateNetwork, climbed
from hsmm.numerics import ordered_sum
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.types import StateSeries

_SCALES = ("state", "shared")
_AT_FLOOR, _LOWEST = 1e-3, 1e-8  # of a log-scale above its floor


@dataclass(frozen=True, kw_only=True, eq=False)
class Neural(StateNetwork, Emission):
    """y ~ N(network of the state, scale²), each feature for itself; see :class:`~hsmm.components.network.StateNetwork`.

    ``scale`` is "state", learnt for each state, "shared", learnt for all together, or a number, the standard deviation
    in the unit of the data. Means are in units of the fit, ``location`` and ``unit`` (R, F), and so is ``log_scale``
    (R, K, F), or (R, F) where it is shared, which is at least ``floor`` (R, F), that of ``min_covariance`` relative to
    each feature's variance.
    """

    name: ClassVar[str] = "neural"
    support: ClassVar[Support] = NUMBERS

    scale: Literal["state", "shared"] | float = "state"
    min_covariance: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.scale, str):
            if self.scale not in _SCALES:
                raise ValueError(
                    f"scale is {self.scale!r}; expected 'state', 'shared' or a number{nearest(self.scale, _SCALES)}"
                )
        elif isinstance(self.scale, bool) or not 0.0 < self.scale < math.inf:
            raise ValueError(f"scale is {self.scale!r}; expected 'state', 'shared' or a number > 0.")
        if not 0.0 < self.min_covariance < 1.0:
            raise ValueError(f"min_covariance is {self.min_covariance}; expected a fraction between 0 and 1.")

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        of_scale: dict[str, tuple[int, ...]] = {} if self._is_fixed else {"log_scale": (1,), "floor": ()}
        if self.scale == "shared":
            of_scale["log_scale"] = ()
        return self.network_axes | {"location": (), "unit": ()} | of_scale

    @property
    def is_location_scale(self) -> bool:  # type: ignore[override]
        return not self._is_fixed

    @property
    def n_features(self) -> int:
        return self.parameters["bias"].shape[1]

    def example(self, n_rows: int, generator: torch.Generator) -> Sequences:
        rows = super().example(n_rows, generator)
        if not self.reads_context:
            return rows
        drawn = torch.randn((n_rows, 2), generator=generator, dtype=torch.float64)
        return rows.with_covariates(drawn * torch.tensor([1.0, 50.0]) + 3.0)

    def typical(self) -> Gaussian:
        """The law at the mean context."""
        mean, log_scale = (x[:, 0] for x in self._laws(None))
        location, unit = (self.parameters[name].unsqueeze(1) for name in ("location", "unit"))
        own = {"mean": mean * unit + location, "covariance": (log_scale.exp() * unit).square()}
        return Gaussian(covariance="diag", min_covariance=self.min_covariance, parameters=own)

    def moments(self) -> tuple[Tensor, Tensor]:
        law = self.typical()
        return law.parameters["mean"], law.parameters["covariance"].sqrt()

    def effects(self, sequences: Sequences) -> Sequence[Effect]:
        if not self.reads_context:
            return []
        mean = self._laws(self.standard(sequences))[0][0]
        return effects_of("mean", mean * self.parameters["unit"][0] + self.parameters["location"][0], "identity")

    def order(self) -> Tensor:
        return self.typical().order()

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        location, unit = self.parameters["location"][0], self.parameters["unit"][0]
        values = (torch.where(sequences.observed, sequences.values, location) - location) / unit
        numbers = torch.stack(self._laws(self.standard(sequences)), -1)
        of_cell = ROW_LAWS["gaussian"].log_density(values, numbers) - unit.log()
        density = ordered_sum(torch.where(sequences.observed.unsqueeze(1), of_cell, 0.0))
        return density if out is None else out.copy_(density)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        law = Gaussian(covariance="diag", min_covariance=self.min_covariance).initialise(sequences, labels, n_states)
        r, location, unit = len(labels), sequences.moments[0], sequences.scale
        made = self.with_parameters(location=location.repeat(r, 1), unit=unit.repeat(r, 1))
        if not self._is_fixed:
            floor = 0.5 * math.log(self.min_covariance) + (sequences.floor_scale / unit).log()
            variance = law.parameters["covariance"] / unit.square()
            spread = 0.5 * (variance.mean(1) if self.scale == "shared" else variance).log()
            made = made.with_parameters(floor=floor.repeat(r, 1), log_scale=spread)
        made = made.fitted_to((law.parameters["mean"] - location) / unit).beside(sequences)
        return made.with_free(made.free())

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        """Steps uphill; without a context at once, the network being led to the best means."""
        if self.reads_context:
            return climbed(self, lambda law: law.climb(sequences, counts) + law.log_prior())
        best = self.typical().maximise(sequences, counts)
        location, unit = (self.parameters[name].unsqueeze(1) for name in ("location", "unit"))
        made = self.led_to((best.parameters["mean"] - location) / unit)
        if self._is_fixed:
            return made
        size = counts.mT @ sequences.observed.to(counts)
        found = 0.5 * (best.parameters["covariance"] / unit.square()).log()
        if self.scale == "shared":
            total = size.sum(1)
            pooled = (size * (2.0 * found).exp()).sum(1) / total.where(total > 0, 1.0)
            found = torch.where(total > 0, 0.5 * pooled.log(), self.parameters["log_scale"])
        return made.with_parameters(log_scale=found.maximum(self._floor_beside(found)))

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's scale lies at its floor."""
        if self._is_fixed:
            return super().collapsed(sequences).to(self.parameters["bias"].device)
        least = self._floor_beside(self.parameters["log_scale"]) + _AT_FLOOR
        return (self.parameters["log_scale"] <= least).flatten(1).any(1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        if self.scale != "state":
            return super().suspects(sequences)
        return narrow_axes(self._squared(self.parameters["log_scale"]), sequences).flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Judged by what the network leaves of a row; a scale that all states share feeds on no state's rows."""
        if self.scale != "state":
            return self
        context, log_scale = self.standard(sequences), self.parameters["log_scale"]
        location, unit = (self.parameters[name][:, None, None] for name in ("location", "unit"))
        centre, variance = self.numbers(context) * unit + location, self._squared(log_scale)
        least = self._squared(self._floor_beside(log_scale))[0, 0]
        n_slopes = 0 if context is None else context.shape[-1]
        wide = widened_about(centre, variance, least, sequences, weights, n_slopes=n_slopes)
        return self.with_parameters(log_scale=log_scale + 0.5 * (wide / variance).log())

    def _squared(self, log_scale: Tensor) -> Tensor:
        """(R, K, F) variances in the unit of the data."""
        return (2.0 * log_scale).exp() * self.parameters["unit"].unsqueeze(1).square()

    def tails(self, sequences: Sequences) -> Tails:
        mean, log_scale = (x[0].expand(sequences.n_rows, -1, -1).mT for x in self._laws(self.standard(sequences)))
        location, unit = self.parameters["location"][0].unsqueeze(-1), self.parameters["unit"][0].unsqueeze(-1)
        return normal_tails(sequences.values.unsqueeze(-1), mean * unit + location, log_scale.exp() * unit)

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        n = len(states)
        blank = torch.zeros(n, self.n_features, dtype=torch.float64)
        rows = Sequences(blank, blank.bool(), torch.tensor([0, n]), covariates)
        mean, log_scale = (x[0].expand(n, -1, -1)[torch.arange(n), states] for x in self._laws(self.standard(rows)))
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        return (mean + log_scale.exp() * noise) * self.parameters["unit"][0] + self.parameters["location"][0]

    def constraints(self) -> Mapping[str, Constraint]:
        of_scale: dict[str, Constraint] = {} if self._is_fixed else {"log_scale": "real"}
        return {**super().constraints(), **of_scale}

    def free(self) -> dict[str, Tensor]:
        found = super().free()
        if "log_scale" in found:
            above = (found["log_scale"] - self._floor_beside(found["log_scale"])).clamp(min=_LOWEST)
            found["log_scale"] = above + (-torch.expm1(-above)).log()
        return found

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        own = dict(coordinates)
        if "log_scale" in own:
            own["log_scale"] = self._floor_beside(own["log_scale"]) + torch.nn.functional.softplus(own["log_scale"])
        return super().with_free(own)

    def n_parameters(self) -> int:
        of_scale = 0 if self._is_fixed else self.parameters["log_scale"][0].numel()
        return self.n_network(self.n_features) + of_scale

    def check(self) -> None:
        self.check_network(self.n_features)
        k, f = self.parameters["embed"].shape[1:2], (self.n_features,)
        wanted = {"location": f, "unit": f, "log_scale": f if self.scale == "shared" else k + f, "floor": f}
        for name in self.state_axes.keys() & wanted.keys():
            if (found := tuple(self.parameters[name].shape[1:])) != wanted[name]:
                raise ValueError(f"the neural emission has a {name} of shape {found}; expected {wanted[name]}.")

    @property
    def _is_fixed(self) -> bool:
        return not isinstance(self.scale, str)

    def _laws(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """(R, N, K, F) means and log-scales in units of the fit; (R, 1, K, F) without a context."""
        mean = self.numbers(context)
        if isinstance(self.scale, str):
            found = self.parameters["log_scale"]
            log_scale = found.unsqueeze(1) if found.ndim == 3 else found[:, None, None]
        else:
            log_scale = math.log(self.scale) - self.parameters["unit"].log()[:, None, None]
        return mean, log_scale.expand_as(mean)

    def _floor_beside(self, log_scale: Tensor) -> Tensor:
        floor = self.parameters["floor"]
        return floor.unsqueeze(1) if log_scale.ndim == 3 else floor
