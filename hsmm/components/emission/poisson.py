"""Counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound
from hsmm.components.counts import log_poisson
from hsmm.components.emission.columnwise import Column
from hsmm.components.emission.positive import Positive, averages, weighted_sums
from hsmm.components.emission.support import COUNTS, Support
from hsmm.components.emission.tails import Tails, poisson_tails
from hsmm.sequences import Sequences

SMALLEST_RATE = 1e-10
"""A state that holds zeros alone has this rate: none at all would make every other count impossible for ever."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Poisson(Positive):
    """Parameter ``rate`` (R, K, F), in a fit at least ``SMALLEST_RATE``; a known one may be 0.

    The prior is Gamma with shape ``prior_shape`` >= 1 and rate ``prior_rate`` >= 0, the weight of a pseudo-sample
    (1, 0: none).
    """

    name: ClassVar[str] = "poisson"
    state_axes: ClassVar = {"rate": (1,)}
    support: ClassVar[Support] = COUNTS
    maybe_zero: ClassVar = frozenset({"rate"})

    prior_shape: float = 1.0
    prior_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.prior_shape < np.inf:
            raise ValueError(f"prior_shape is {self.prior_shape}; expected a number >= 1 (1 is no prior).")
        if not 0.0 <= self.prior_rate < np.inf:
            raise ValueError(f"prior_rate is {self.prior_rate}; expected a number >= 0 (0 is no prior).")

    @classmethod
    def from_parameters(cls, rate: Any, **hyperparameters: Any) -> Self:
        """``rate`` (K, F)."""
        return cls._given(hyperparameters, rate=rate)

    @property
    def rate_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("rate")

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"rate": (SMALLEST_RATE, np.inf)}

    def density(self, feature: int, values: Tensor) -> Tensor:
        rate = self.parameters["rate"][:, None, :, feature]
        return log_poisson(values[:, None], rate, rate.log())

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        total = weighted_sums(columns, lambda y: y) + (self.prior_shape - 1.0)
        weight = weighted_sums(columns) + self.prior_rate
        rate = averages(total, weight, self.parameters["rate"])
        return self.with_parameters(rate=rate.clamp(min=SMALLEST_RATE))

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        rate = sequences.moments[0].clamp(min=SMALLEST_RATE)
        return self.with_parameters(rate=rate.expand(n_restarts, n_states, -1).clone())

    def tails(self, sequences: Sequences) -> Tails:
        return poisson_tails(sequences.values.unsqueeze(-1), self.parameters["rate"][0].T)

    def log_prior(self) -> Tensor:
        rate = self.parameters["rate"]
        return (torch.xlogy(self.prior_shape - 1.0, rate) - self.prior_rate * rate).sum((-1, -2))

    def moments(self) -> tuple[Tensor, Tensor]:
        rate = self.parameters["rate"]
        return rate, rate.sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        return torch.poisson(self.parameters["rate"][0][states], generator=generator)
