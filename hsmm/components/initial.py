"""Laws of the first state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import (
    Component,
    Constraint,
    as_parameter,
    check_concentration,
    check_distribution,
    dirichlet_mode,
)
from hsmm.types import StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Initial(Component):
    """P(first state), parameter ``probability`` (R, K)."""

    state_axes: ClassVar = {"probability": (1,)}

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        value = as_parameter(probability, "initial_prob", (1,))
        check_distribution(value.numpy(), "initial_prob")
        return cls(parameters={"probability": value}, **hyperparameters)

    @property
    def is_exchangeable(self) -> bool:
        """Whether the states may be numbered anew without changing what was asked for."""
        return True

    def log_potentials(self) -> StateVector:
        return self.parameters["probability"].log()

    @abstractmethod
    def initialise(self, n_restarts: int, n_states: int) -> Self: ...

    def maximise(self, counts: StateVector) -> Self:
        """Best law for these expected counts (R, K)."""
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class FreeInitial(Initial):
    """Estimated, with a Dirichlet prior of this concentration (1: none)."""

    name: ClassVar[str] = "free"
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check_concentration(self.concentration)

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        return self.with_parameters(probability=_uniform(n_restarts, n_states))

    def maximise(self, counts: StateVector) -> Self:
        return self.with_parameters(
            probability=dirichlet_mode(counts, self.concentration, self.parameters["probability"])
        )

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def log_prior(self) -> Tensor:
        return torch.xlogy(self.concentration - 1.0, self.parameters["probability"]).sum(-1)

    def n_parameters(self) -> int:
        return self.parameters["probability"].shape[-1] - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class UniformInitial(Initial):
    """Every state equally likely."""

    name: ClassVar[str] = "uniform"

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        return self.with_parameters(probability=_uniform(n_restarts, n_states))

    def n_parameters(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedInitial(Initial):
    """Given as ``probability`` (K,) and never changed."""

    name: ClassVar[str] = "fixed"
    probability: Sequence[float]

    def __post_init__(self) -> None:
        check_distribution(as_parameter(self.probability, "probability", (1,)).numpy(), "probability")

    @property
    def is_exchangeable(self) -> bool:
        return False

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        if len(self.probability) != n_states:
            raise ValueError(f"probability has {len(self.probability)} entries, but the model has {n_states} states.")
        value = torch.tensor([float(p) for p in self.probability], dtype=torch.float64)
        return self.with_parameters(probability=value.expand(n_restarts, -1).clone())

    def n_parameters(self) -> int:
        return 0


def _uniform(n_restarts: int, n_states: int) -> Tensor:
    return torch.full((n_restarts, n_states), 1.0 / n_states, dtype=torch.float64)


INITIALS: dict[str, type[Initial]] = {law.name: law for law in (FreeInitial, UniformInitial, FixedInitial)}
