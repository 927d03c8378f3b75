"""Counts that scatter more widely than a Poisson law."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound
from hsmm.components.counts import log_negative_binomial
from hsmm.components.emission.columnwise import Column
from hsmm.components.emission.poisson import SMALLEST_RATE
from hsmm.components.emission.positive import Positive, ascended, averages, weighted_sums
from hsmm.components.emission.support import COUNTS, Support
from hsmm.components.emission.tails import Tails, negative_binomial_tails
from hsmm.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativeBinomial(Positive):
    """Parameters ``mean`` m and ``size`` r (R, K, F); the variance is m + m² / r, and r → ∞ is Poisson.

    In a fit ``size`` is held within ``size_bounds``, ``mean`` at or above ``SMALLEST_RATE``; a known mean may be 0.
    """

    name: ClassVar[str] = "negative_binomial"
    state_axes: ClassVar = {"mean": (1,), "size": (1,)}
    holdable: ClassVar = frozenset({"mean", "size"})
    support: ClassVar[Support] = COUNTS
    maybe_zero: ClassVar = frozenset({"mean"})

    size_bounds: tuple[float, float] = (1e-3, 1e5)

    def __post_init__(self) -> None:
        if not 0.0 < self.size_bounds[0] < self.size_bounds[1] < np.inf:
            raise ValueError(f"size_bounds are {self.size_bounds}; expected two rising positive numbers.")

    @classmethod
    def from_parameters(cls, mean: Any, size: Any, **hyperparameters: Any) -> Self:
        """``mean`` and ``size``, both (K, F)."""
        return cls._given(hyperparameters, mean=mean, size=size)

    @property
    def mean_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("mean")

    @property
    def size_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("size")

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"mean": (SMALLEST_RATE, np.inf), "size": self.size_bounds}

    def density(self, feature: int, values: Tensor) -> Tensor:
        mean, size = (self.parameters[name][:, None, :, feature] for name in ("mean", "size"))
        return log_negative_binomial(values[:, None], mean, mean.log(), size)

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        """The mean in closed form, whatever the size; then the size, given that mean."""
        weight, total = weighted_sums(columns), weighted_sums(columns, lambda y: y)
        mean = self.parameters["mean"]
        if "mean" not in held:
            mean = averages(total, weight, mean).clamp(min=SMALLEST_RATE)
        if "size" in held:
            return self.with_parameters(mean=mean)

        def over_counts(function: Any, size: Tensor) -> Tensor:
            sums = [(c.weight * function(c.values + size[..., f, None])).sum(-1) for f, c in enumerate(columns)]
            return torch.stack(sums, -1)

        def value(size: Tensor) -> Tensor:
            sums = []
            for feature, column in enumerate(columns):
                centre, spread = (x[..., feature, None] for x in (mean, size))
                sums.append(
                    (column.weight * log_negative_binomial(column.values, centre, centre.log(), spread)).sum(-1)
                )
            return torch.stack(sums, -1)

        def slopes(size: Tensor) -> tuple[Tensor, Tensor]:
            first = over_counts(torch.digamma, size) - weight * torch.digamma(size)
            second = over_counts(_trigamma, size) - weight * _trigamma(size)
            surplus = (weight * mean - total) / (size + mean)
            bend = weight * mean / (size * (size + mean)) - surplus / (size + mean)
            return first - weight * torch.log1p(mean / size) + surplus, second + bend

        size = ascended(self.parameters["size"], value, slopes, self.size_bounds)
        return self.with_parameters(mean=mean, size=torch.where(weight > 0, size, self.parameters["size"]))

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        mean, variance = sequences.moments
        size = (mean**2 / (variance - mean).clamp(min=1e-3)).clamp(0.5, 100.0).clamp(*self.size_bounds)
        pooled = {"mean": mean.clamp(min=SMALLEST_RATE), "size": size}
        return self.with_parameters(**{x: v.expand(n_restarts, n_states, -1).clone() for x, v in pooled.items()})

    def moments(self) -> tuple[Tensor, Tensor]:
        mean, size = self.parameters["mean"], self.parameters["size"]
        return mean, (mean + mean.square() / size).sqrt()

    def tails(self, sequences: Sequences) -> Tails:
        mean, size = (self.parameters[name][0].T for name in ("mean", "size"))
        return negative_binomial_tails(sequences.values.unsqueeze(-1), mean, size)

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        mean, size = (self.parameters[name][0][states] for name in ("mean", "size"))
        rate = torch._standard_gamma(size, generator=generator) * (mean / size)
        return torch.poisson(rate, generator=generator)


def _trigamma(x: Tensor) -> Tensor:
    return torch.polygamma(1, x)
