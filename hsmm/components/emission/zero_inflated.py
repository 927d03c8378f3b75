"""Columns with more zeros than their law has: no rain, no step, no claim."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Bound, Constraint, safe_log
from hsmm.components.counts import log_poisson
from hsmm.components.emission.columnwise import Column
from hsmm.components.emission.gamma import Gamma
from hsmm.components.emission.poisson import SMALLEST_RATE
from hsmm.components.emission.positive import Positive, averages, weighted_sums
from hsmm.components.emission.support import COUNTS, ZERO_OR_POSITIVE, Support
from hsmm.components.emission.tails import Tails, poisson_tails
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

SMALLEST_SHARE = 1e-10
"""Of zeros, and of what is none, beside a law that has no zeros: a state without either would exclude it for ever."""
_STEPS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class ZeroInflated(Positive):
    """Parameter ``zero`` (R, K, F), the share of rows that are zero whatever the law of the others says."""

    maybe_zero: ClassVar = frozenset({"zero"})

    @property
    def zero_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("zero")

    def check(self) -> None:
        super().check()
        if not bool((self.parameters["zero"] <= 1).all()):
            raise ValueError(f"zero holds {float(self.parameters['zero'].max()):g}; expected shares from 0 to 1.")

    def constraints(self) -> Mapping[str, Constraint]:
        return {**super().constraints(), "zero": "unit"}

    def tails(self, sequences: Sequences) -> Tails:
        zero, law = self.parameters["zero"][0].T, self._law_tails(sequences)
        at_zero = (sequences.values == 0).unsqueeze(-1)
        rest = torch.log1p(-zero)
        certain = zero.log().expand_as(law.at)
        return Tails(
            torch.where(at_zero, -torch.inf, torch.logaddexp(certain, rest + law.below)),
            torch.where(at_zero, torch.logaddexp(certain, rest + law.at), rest + law.at),
            rest + law.above,
        )

    @abstractmethod
    def _law_tails(self, sequences: Sequences) -> Tails:
        """(N, F, K) of the law of the others."""

    def _drawn(self, states: Tensor, generator: torch.Generator, others: Tensor) -> Tensor:
        """Rows of which some are zero and some are the ``others``."""
        return torch.where(torch.bernoulli(self.parameters["zero"][0][states], generator=generator) > 0, 0.0, others)


@dataclass(frozen=True, kw_only=True, eq=False)
class ZeroInflatedPoisson(ZeroInflated):
    """Parameters ``zero`` π and ``rate`` λ (R, K, F): zero with probability π, else a Poisson count (Lambert 1992)."""

    name: ClassVar[str] = "zero_inflated_poisson"
    state_axes: ClassVar = {"zero": (1,), "rate": (1,)}
    support: ClassVar[Support] = COUNTS
    maybe_zero: ClassVar = frozenset({"zero", "rate"})

    @classmethod
    def from_parameters(cls, rate: Any, zero: Any = 0.0, **hyperparameters: Any) -> Self:
        """``rate`` >= 0 (K, F); ``zero`` from 0 to 1, of the same shape or one share for all."""
        return cls._given(hyperparameters, zero=_shares(zero, rate), rate=rate)

    @property
    def rate_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("rate")

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return {"rate": (SMALLEST_RATE, np.inf)}

    def density(self, feature: int, values: Tensor) -> Tensor:
        zero, rate = (self.parameters[name][:, None, :, feature] for name in ("zero", "rate"))
        none = values[:, None] == 0
        others = torch.log1p(-zero) + log_poisson(torch.where(none, 1.0, values[:, None]), rate, rate.log())
        return torch.where(none, safe_log(zero + (1.0 - zero) * torch.exp(-rate)), others)

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        """The rate under which positive counts have their mean, and the zeros that it leaves unexplained.

        Where it leaves fewer than none, the law is Poisson.
        """
        weight, total = weighted_sums(columns), weighted_sums(columns, lambda y: y)
        some = weighted_sums(columns, lambda y: (y > 0).double())
        rate = _rate_of_positive(averages(total, some, torch.ones_like(total)).clamp(min=1.0))
        expected = torch.exp(-rate)
        share = averages(weight - some, weight, expected)
        zero = (share - expected) / (-torch.expm1(-rate)).clamp(min=SMALLEST_RATE)
        inflated = (zero > 0) & (some > 0)
        plain = averages(total, weight, self.parameters["rate"])
        found = {
            "zero": torch.where(inflated, zero, 0.0),
            "rate": torch.where(inflated, rate, plain).clamp(min=SMALLEST_RATE),
        }
        return self.with_parameters(
            **{name: torch.where(weight > 0, value, self.parameters[name]) for name, value in found.items()}
        )

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        rate = sequences.moments[0].clamp(min=SMALLEST_RATE).expand(n_restarts, n_states, -1).clone()
        return self.with_parameters(zero=torch.full_like(rate, 0.1), rate=rate)

    def _law_tails(self, sequences: Sequences) -> Tails:
        return poisson_tails(sequences.values.unsqueeze(-1), self.parameters["rate"][0].T)

    def moments(self) -> tuple[Tensor, Tensor]:
        zero, rate = self.parameters["zero"], self.parameters["rate"]
        return (1.0 - zero) * rate, ((1.0 - zero) * rate * (1.0 + zero * rate)).sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        others = torch.poisson(self.parameters["rate"][0][states], generator=generator)
        return self._drawn(states, generator, others)


@dataclass(frozen=True, kw_only=True, eq=False)
class ZeroInflatedGamma(ZeroInflated, Gamma):
    """Parameters ``zero`` π, ``mean`` m and ``shape`` a (R, K, F): zero with probability π, else a gamma law's number.

    ``mean`` and ``shape`` are those of the rows that are not zero.
    """

    name: ClassVar[str] = "zero_inflated_gamma"
    state_axes: ClassVar = {"zero": (1,), "mean": (1,), "shape": (1,)}
    holdable: ClassVar = frozenset({"zero", "mean", "shape"})
    support: ClassVar[Support] = ZERO_OR_POSITIVE

    @classmethod
    def from_parameters(cls, mean: Any, shape: Any, zero: Any = 0.0, **hyperparameters: Any) -> Self:
        """``mean`` and ``shape`` of the rows that are not zero (K, F); ``zero`` from 0 to 1, (K, F) or one for all."""
        return cls._given(hyperparameters, zero=_shares(zero, mean), mean=mean, shape=shape)

    def density(self, feature: int, values: Tensor) -> Tensor:
        zero, none = self.parameters["zero"][:, None, :, feature], values[:, None] == 0
        others = Gamma.density(self, feature, torch.where(values == 0, 1.0, values))
        return torch.where(none, safe_log(zero), torch.log1p(-zero) + others)

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        weight = weighted_sums(columns)
        some = [Column(c.values[c.values > 0], c.weight[..., c.values > 0]) for c in columns]
        before = self.parameters["zero"]
        zero = 1.0 - averages(weighted_sums(some), weight, 1.0 - before)
        zero = torch.where(weight > 0, zero.clamp(SMALLEST_SHARE, 1.0 - SMALLEST_SHARE), before)
        return Gamma.fitted_to(self, some, held).with_parameters(zero=before if "zero" in held else zero)

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        zero = sequences.values.new_full((n_restarts, n_states, sequences.n_features), 0.5)
        return Gamma.pooled(self, _positive_cells(sequences), n_restarts, n_states).with_parameters(zero=zero)

    def points(self, sequences: Sequences) -> Tensor:
        """Whether a cell is zero, beside the logarithm of those that are not."""
        self.check_values(sequences)
        none = (sequences.observed & (sequences.values == 0)).double()
        return torch.cat([none, Gamma.points(self, _positive_cells(sequences))], 1)

    def collapsed(self, sequences: Sequences) -> Tensor:
        return Gamma.collapsed(self, _positive_cells(sequences))

    def suspects(self, sequences: Sequences) -> Tensor:
        return Gamma.suspects(self, _positive_cells(sequences))

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        return Gamma.sobered(self, _positive_cells(sequences), weights)

    def _law_tails(self, sequences: Sequences) -> Tails:
        return Gamma.tails(self, sequences)

    def moments(self) -> tuple[Tensor, Tensor]:
        zero, mean, shape = (self.parameters[name] for name in ("zero", "mean", "shape"))
        return (1.0 - zero) * mean, mean * ((1.0 - zero) * (1.0 / shape + zero)).sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        return self._drawn(states, generator, Gamma.sample(self, states, generator))


def _positive_cells(sequences: Sequences) -> Sequences:
    """The rows with their zeros missing."""
    return Sequences(sequences.values, sequences.observed & (sequences.values > 0), sequences.offsets)


def _shares(zero: Any, beside: Any) -> np.ndarray:
    return np.broadcast_to(zero, np.shape(beside)) if np.ndim(zero) == 0 else np.asarray(zero)


def _rate_of_positive(mean: Tensor) -> Tensor:
    """λ with λ / (1 - exp(-λ)) = mean >= 1, by Newton steps on a convex function, from above."""
    rate = mean
    for _ in range(_STEPS):
        decay = torch.exp(-rate)
        gap = rate - mean * (1.0 - decay)
        rate = (rate - gap / (1.0 - mean * decay).clamp(min=1e-12)).clamp(min=0.0)
        if bool((gap.abs() <= 1e-15 * mean).all()):
            break
    return rate
