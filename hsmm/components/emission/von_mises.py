"""Directions: headings, turning angles, phases, the hour of a day."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound, Constraint, as_parameter
from hsmm.components.emission.columnwise import Column, Columnwise
from hsmm.components.emission.positive import ascended, weighted_sums
from hsmm.components.emission.repeats import linear
from hsmm.components.emission.spikes import narrow_axes, widened_about
from hsmm.components.emission.support import ANGLES, Support, wrapped
from hsmm.components.emission.tails import Tails, von_mises_tails
from hsmm.sequences import Sequences
from hsmm.types import StateSeries


@dataclass(frozen=True, kw_only=True, eq=False)
class VonMises(Columnwise):
    """Parameters ``mean`` μ, the mean direction in radians, and ``concentration`` κ (R, K, F), the normal law's 1 / σ²
    on the circle (Mardia & Jupp 2000).

    ``concentration`` is held within ``concentration_bounds``: the likelihood of a state that holds equal angles grows
    without end.
    """

    name: ClassVar[str] = "von_mises"
    state_axes: ClassVar = {"mean": (1,), "concentration": (1,)}
    support: ClassVar[Support] = ANGLES

    concentration_bounds: tuple[float, float] = (1e-3, 1e6)

    def __post_init__(self) -> None:
        low, high = self.concentration_bounds
        if not 0.0 < low < high < np.inf:
            raise ValueError(
                f"concentration_bounds are {self.concentration_bounds}; expected two rising positive numbers."
            )

    @classmethod
    def from_parameters(cls, mean: Any, concentration: Any, **hyperparameters: Any) -> Self:
        """``mean`` direction in radians and ``concentration`` > 0, both (K, F)."""
        given = {"mean": wrapped(as_parameter(mean, "mean", (2,)))}
        given["concentration"] = as_parameter(concentration, "concentration", (2,))
        made = cls(parameters=given, **hyperparameters)
        made.check()
        return made

    def check(self) -> None:
        mean, concentration = self.parameters["mean"], self.parameters["concentration"]
        if mean.ndim != 3 or 0 in mean.shape or mean.shape != concentration.shape:
            found = f"mean {tuple(mean.shape[1:])} and concentration {tuple(concentration.shape[1:])}"
            raise ValueError(f"parameters have shapes {found}; expected (K, F).")
        if not bool((concentration > 0).all()):
            raise ValueError(f"concentration holds {float(concentration.min()):g}; expected positive numbers.")

    @property
    def mean_(self) -> np.ndarray:
        """(K, F) mean directions in radians, from -π to π."""
        return self.fitted("mean")

    @property
    def concentration_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("concentration")

    def constraints(self) -> Mapping[str, Constraint]:
        return {"mean": "real", "concentration": "positive"}

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"concentration": self.concentration_bounds}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        made = super().with_free(coordinates)
        held = {"mean": wrapped, "concentration": lambda value: self.within_bounds("concentration", value)}
        return made.with_parameters(**{name: held[name](made.parameters[name]) for name in coordinates})

    def n_parameters(self) -> int:
        return 2 * self.parameters["mean"][0].numel()

    def density(self, feature: int, values: Tensor) -> Tensor:
        mean, concentration = (self.parameters[name][..., feature] for name in ("mean", "concentration"))
        constant = -concentration - torch.special.i0e(concentration).log() - math.log(2.0 * math.pi)
        slopes = [concentration * mean.cos(), concentration * mean.sin()]
        return linear(constant, slopes, [values.cos(), values.sin()])

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        """The direction of the sum of the rows' unit vectors, and the concentration that this sum's length asks for."""
        weight, east, north = (weighted_sums(columns, part) for part in (None, torch.cos, torch.sin))
        length = torch.hypot(east, north)
        mean = torch.where(length > 0, torch.atan2(north, east), self.parameters["mean"])

        def value(concentration: Tensor) -> Tensor:
            return concentration * (length - weight) - weight * torch.special.i0e(concentration).log()

        def slopes(concentration: Tensor) -> tuple[Tensor, Tensor]:
            share = _resultant(concentration)
            return length - weight * share, weight * (share.square() + share / concentration - 1.0)

        concentration = ascended(self.parameters["concentration"], value, slopes, self.concentration_bounds)
        kept = torch.where(weight > 0, concentration, self.parameters["concentration"])
        return self.with_parameters(mean=mean, concentration=kept)

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        shape = (n_restarts, n_states, sequences.n_features)
        ones = sequences.values.new_ones(shape)
        return self.with_parameters(mean=0.0 * ones, concentration=ones)

    def points(self, sequences: Sequences) -> Tensor:
        self.check_values(sequences)
        return torch.cat(
            [x.where(sequences.observed, 0.0) for x in (sequences.values.cos(), sequences.values.sin())], 1
        )

    def order(self) -> Tensor:
        """By the first feature's mean direction, from -π to π."""
        return self.parameters["mean"][0, :, 0].argsort(stable=True)

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's concentration lies at its upper bound although the data vary."""
        varying = sequences.moments[1] > 0
        return (self.parameters["concentration"][..., varying] >= 0.99 * self.concentration_bounds[1]).any(-1).any(-1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        return narrow_axes(1.0 / self.parameters["concentration"], sequences, _spread(sequences)).flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Judged by the turn to each row, whose variance is about 1 / concentration."""
        mean, concentration = self.parameters["mean"], self.parameters["concentration"]
        least = torch.full_like(concentration[0, 0], 1.0 / self.concentration_bounds[1])
        wide = widened_about(
            mean.unsqueeze(1), 1.0 / concentration, least, sequences, weights,
            whole=_spread(sequences), shortest=wrapped,
        )  # fmt: skip
        return self.with_parameters(concentration=torch.minimum(concentration, 1.0 / wide))

    def tails(self, sequences: Sequences) -> Tails:
        mean, concentration = (self.parameters[name][0].T for name in ("mean", "concentration"))
        return von_mises_tails(sequences.values.unsqueeze(-1), mean, concentration)

    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean direction, and the circular standard deviation √(-2 log A(κ)), in radians."""
        share = _resultant(self.parameters["concentration"])
        return self.parameters["mean"], (-2.0 * share.log()).sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator))
        mean, concentration = (self.parameters[name][0][states].numpy() for name in ("mean", "concentration"))
        return torch.from_numpy(np.random.default_rng(seed).vonmises(mean, concentration))


def _resultant(concentration: Tensor) -> Tensor:
    """A(κ) = I₁(κ) / I₀(κ), the length of the mean unit vector."""
    return torch.special.i1e(concentration) / torch.special.i0e(concentration)


def _spread(sequences: Sequences) -> Tensor:
    """(F,) twice the circular variance of the observed rows: about the variance where these lie close together."""
    seen = sequences.observed.to(sequences.values.dtype)
    n_seen = seen.sum(0).clamp(min=1.0)
    east, north = ((part * seen).sum(0) / n_seen for part in (sequences.values.cos(), sequences.values.sin()))
    return 2.0 * (1.0 - torch.hypot(east, north))
