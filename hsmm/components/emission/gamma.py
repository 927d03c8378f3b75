"""Positive quantities: waiting times, step lengths, loads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound
from hsmm.components.emission.base import standardised
from hsmm.components.emission.columnwise import Column
from hsmm.components.emission.positive import Positive, ascended, averages, weighted_sums
from hsmm.components.emission.repeats import linear
from hsmm.components.emission.spikes import narrow_axes, widened_axes
from hsmm.components.emission.support import POSITIVE, Support
from hsmm.components.emission.tails import Tails, gamma_tails
from hsmm.sequences import Sequences
from hsmm.types import StateSeries


@dataclass(frozen=True, kw_only=True, eq=False)
class Gamma(Positive):
    """Parameters ``mean`` m and ``shape`` a (R, K, F); the standard deviation is m / √a.

    ``shape`` is held within ``shape_bounds``: the likelihood of a state that holds equal values grows without end.
    """

    name: ClassVar[str] = "gamma"
    state_axes: ClassVar = {"mean": (1,), "shape": (1,)}
    holdable: ClassVar = frozenset({"mean", "shape"})
    support: ClassVar[Support] = POSITIVE

    shape_bounds: tuple[float, float] = (1e-2, 1e6)

    def __post_init__(self) -> None:
        if not 0.0 < self.shape_bounds[0] < self.shape_bounds[1] < np.inf:
            raise ValueError(f"shape_bounds are {self.shape_bounds}; expected two rising positive numbers.")

    @classmethod
    def from_parameters(cls, mean: Any, shape: Any, **hyperparameters: Any) -> Self:
        """``mean`` and ``shape``, both (K, F)."""
        return cls._given(hyperparameters, mean=mean, shape=shape)

    @property
    def mean_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("mean")

    @property
    def shape_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("shape")

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"mean": (np.finfo(np.float64).tiny, np.inf), "shape": self.shape_bounds}

    def density(self, feature: int, values: Tensor) -> Tensor:
        mean, shape = (self.parameters[name][..., feature] for name in ("mean", "shape"))
        constant = shape * (shape / mean).log() - torch.lgamma(shape)
        return linear(constant, [shape - 1.0, -shape / mean], [values.log(), values])

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        """The mean in closed form, whatever the shape; then the shape, given that mean."""
        weight, total = weighted_sums(columns), weighted_sums(columns, lambda y: y)
        mean = self.parameters["mean"] if "mean" in held else averages(total, weight, self.parameters["mean"])
        if "shape" in held:
            return self.with_parameters(mean=mean)
        spread = weight * mean.log() - weighted_sums(columns, torch.log) + (total / mean - weight)

        def value(shape: Tensor) -> Tensor:
            return weight * (shape * shape.log() - torch.lgamma(shape) - shape) - shape * spread

        def slopes(shape: Tensor) -> tuple[Tensor, Tensor]:
            first = weight * (shape.log() - torch.digamma(shape)) - spread
            return first, weight * (1.0 / shape - torch.polygamma(1, shape))

        shape = ascended(self.parameters["shape"], value, slopes, self.shape_bounds)
        return self.with_parameters(mean=mean, shape=torch.where(weight > 0, shape, self.parameters["shape"]))

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        mean, variance = sequences.moments
        pooled = {
            "mean": torch.where(mean > 0, mean, 1.0),
            "shape": (mean**2 / variance.clamp(min=1e-300)).clamp(0.1, 1e3).clamp(*self.shape_bounds),
        }
        return self.with_parameters(**{x: v.expand(n_restarts, n_states, -1).clone() for x, v in pooled.items()})

    def tails(self, sequences: Sequences) -> Tails:
        mean, shape = (self.parameters[name][0].T for name in ("mean", "shape"))
        return gamma_tails(sequences.values.unsqueeze(-1), mean, shape)

    def points(self, sequences: Sequences) -> Tensor:
        self.check_values(sequences)
        return standardised(sequences.logarithms)

    def collapsed(self, sequences: Sequences) -> Tensor:
        """(R,) whether a state's shape lies at its upper bound although the data vary."""
        varying = sequences.moments[1] > 0
        return (self.parameters["shape"][..., varying] >= 0.99 * self.shape_bounds[1]).any(-1).any(-1)

    @property
    def judges_spikes(self) -> bool:
        return True

    def suspects(self, sequences: Sequences) -> Tensor:
        return narrow_axes(1.0 / self.parameters["shape"], sequences.logarithms).flatten(1).any(1)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        """Judged by logarithms, whose variance is about 1 / shape."""
        mean, shape = self.parameters["mean"], self.parameters["shape"]
        least = torch.full_like(shape[0, 0], 1.0 / self.shape_bounds[1])
        wide = widened_axes(mean.log(), 1.0 / shape, least, sequences.logarithms, weights)
        return self.with_parameters(shape=torch.where(wide > 1.0 / shape, 1.0 / wide, shape))

    def moments(self) -> tuple[Tensor, Tensor]:
        mean, shape = self.parameters["mean"], self.parameters["shape"]
        return mean, mean / shape.sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        mean, shape = (self.parameters[name][0][states] for name in ("mean", "shape"))
        drawn = torch._standard_gamma(shape, generator=generator) * (mean / shape)
        return drawn.clamp(min=torch.finfo(drawn.dtype).tiny)
