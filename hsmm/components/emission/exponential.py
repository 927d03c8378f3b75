"""Waiting times without memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound
from hsmm.components.emission.base import Sufficient
from hsmm.components.emission.columnwise import Column
from hsmm.components.emission.positive import Positive, averages, weighted_sums
from hsmm.components.emission.repeats import linear
from hsmm.components.emission.support import POSITIVE, Support
from hsmm.components.emission.tails import Tails, gamma_tails
from hsmm.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class Exponential(Positive):
    """Parameter ``mean`` (R, K, F), which is also the standard deviation: the gamma law of shape 1."""

    name: ClassVar[str] = "exponential"
    state_axes: ClassVar = {"mean": (1,)}
    support: ClassVar[Support] = POSITIVE
    sufficient: ClassVar[Sufficient] = "mean"

    @classmethod
    def from_parameters(cls, mean: Any, **hyperparameters: Any) -> Self:
        """``mean`` (K, F)."""
        return cls._given(hyperparameters, mean=mean)

    @property
    def mean_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("mean")

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"mean": (float(np.finfo(np.float64).tiny), np.inf)}

    def density(self, feature: int, values: Tensor) -> Tensor:
        mean = self.parameters["mean"][..., feature]
        return linear(-mean.log(), [-1.0 / mean], [values])

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        """The likeliest mean is that of the rows."""
        total, weight = weighted_sums(columns, lambda y: y), weighted_sums(columns)
        return self.with_parameters(mean=averages(total, weight, self.parameters["mean"]))

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        mean = sequences.moments[0]
        usable = torch.where(mean > 0, mean, 1.0)
        return self.with_parameters(mean=usable.expand(n_restarts, n_states, -1).clone())

    def moments(self) -> tuple[Tensor, Tensor]:
        mean = self.parameters["mean"]
        return mean, mean

    def tails(self, sequences: Sequences) -> Tails:
        mean = self.parameters["mean"][0].T
        return gamma_tails(sequences.values.unsqueeze(-1), mean, torch.ones_like(mean))

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        mean = self.parameters["mean"][0][states]
        drawn = -mean * torch.log1p(-torch.rand(mean.shape, generator=generator, dtype=mean.dtype))
        return drawn.clamp(min=torch.finfo(drawn.dtype).tiny)
