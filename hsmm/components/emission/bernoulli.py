"""Yes or no."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter, safe_log
from hsmm.components.emission.columnwise import Column, Columnwise
from hsmm.components.emission.support import BINARY, Support
from hsmm.components.emission.tails import Tails, bernoulli_tails
from hsmm.sequences import Sequences

_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class Bernoulli(Columnwise):
    """Parameter ``probability`` (R, K, F) of a 1, with the prior Beta(``alpha``, ``beta``), both >= 1 (1, 1: none)."""

    name: ClassVar[str] = "bernoulli"
    state_axes: ClassVar = {"probability": (1,)}
    support: ClassVar[Support] = BINARY

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if not (1.0 <= self.alpha < np.inf and 1.0 <= self.beta < np.inf):
            raise ValueError(f"alpha and beta are {self.alpha} and {self.beta}; expected numbers >= 1 (1 is no prior).")

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        """``probability`` (K, F) of a 1."""
        made = cls(parameters={"probability": as_parameter(probability, "probability", (2,))}, **hyperparameters)
        made.check()
        return made

    def check(self) -> None:
        value = self.parameters["probability"]
        if value.ndim != 3 or 0 in value.shape:
            raise ValueError(f"probability has shape {tuple(value.shape[1:])}; expected (K, F).")
        if not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError("probability holds values outside 0 to 1.")

    @property
    def probability_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("probability")

    def density(self, feature: int, values: Tensor) -> Tensor:
        yes = self.parameters["probability"][:, None, :, feature]
        return safe_log(torch.where(values[:, None] == 1, yes, 1.0 - yes))

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        ones = torch.stack([column.weight @ column.values for column in columns], -1) + (self.alpha - 1.0)
        total = torch.stack([column.weight.sum(-1) for column in columns], -1) + (self.alpha + self.beta - 2.0)
        probability = (ones / total.clamp(min=_TINY)).clamp(max=1.0)
        return self.with_parameters(probability=torch.where(total > 0, probability, self.parameters["probability"]))

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        half = sequences.values.new_full((n_restarts, n_states, sequences.n_features), 0.5)
        return self.with_parameters(probability=half)

    def tails(self, sequences: Sequences) -> Tails:
        return bernoulli_tails(sequences.values.unsqueeze(-1), self.parameters["probability"][0].T)

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "unit"}

    def log_prior(self) -> Tensor:
        value = self.parameters["probability"]
        prior = torch.xlogy(self.alpha - 1.0, value) + torch.xlogy(self.beta - 1.0, 1.0 - value)
        return prior.sum((-1, -2))

    def n_parameters(self) -> int:
        return self.parameters["probability"][0].numel()

    def moments(self) -> tuple[Tensor, Tensor]:
        yes = self.parameters["probability"]
        return yes, (yes * (1.0 - yes)).sqrt()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        return torch.bernoulli(self.parameters["probability"][0][states], generator=generator)
