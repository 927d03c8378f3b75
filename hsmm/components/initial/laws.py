"""Laws of the first state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Component, Constraint, as_parameter, check_distribution, safe_log
from hsmm.components.dirichlet import (
    as_concentration,
    concentration_for,
    dirichlet_log_density,
    dirichlet_mode,
    floored,
)
from hsmm.components.register import KINDS
from hsmm.sequences import Sequences
from hsmm.types import StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Initial(Component):
    """P(first state), parameter ``probability`` (R, K)."""

    kind: ClassVar[str] = "initial"
    state_axes: ClassVar = {"probability": (1,)}
    follows_transition: ClassVar[bool] = False

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        value = as_parameter(probability, "initial_prob", (1,))
        check_distribution(value.numpy(), "initial_prob")
        return cls(parameters={"probability": value}, **hyperparameters)

    @property
    def is_exchangeable(self) -> bool:
        """Whether the states may be numbered anew without changing what was asked for."""
        return True

    def log_potentials(self, sequences: Sequences | None = None) -> StateVector:
        """(R, K)"""
        return safe_log(self.parameters["probability"])

    @abstractmethod
    def initialise(self, n_restarts: int, n_states: int) -> Self: ...

    def maximise(self, sequences: Sequences, counts: StateVector, held: Collection[str] = ()) -> Self:
        """Best law for these expected counts (R, K)."""
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class FreeInitial(Initial):
    """Estimated, with a Dirichlet prior of this ``concentration`` > 0 (1: none), a number or one for each state.

    Below 1 the prior asks for few states: see :data:`hsmm.components.dirichlet.FLOOR`.
    """

    name: ClassVar[str] = "free"
    concentration: float | Sequence[float] = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "concentration", as_concentration(self.concentration, 1))

    @property
    def is_exchangeable(self) -> bool:
        return len(set(np.ravel(self.concentration).tolist())) == 1

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        made = self.with_parameters(probability=_uniform(n_restarts, n_states))
        made._prior()
        return made

    def maximise(self, sequences: Sequences, counts: StateVector, held: Collection[str] = ()) -> Self:
        return self.with_parameters(probability=dirichlet_mode(counts, self._prior(), self.parameters["probability"]))

    def permuted(self, order: Tensor) -> Self:
        moved = super().permuted(order)
        if isinstance(self.concentration, (int, float)):
            return moved
        return replace(moved, concentration=tuple(self.concentration[k] for k in order.tolist()))

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        made = super().with_free(coordinates)
        value = made.parameters["probability"]
        return made.with_parameters(probability=floored(value, made._prior()))

    def log_prior(self) -> Tensor:
        return dirichlet_log_density(self.parameters["probability"], self._prior())

    def n_parameters(self) -> int:
        return self.parameters["probability"].shape[-1] - 1

    def _prior(self) -> float | Tensor:
        return concentration_for(self.concentration, self.parameters["probability"])


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
        value = as_parameter(self.probability, "probability", (1,))
        check_distribution(value.numpy(), "probability")
        object.__setattr__(self, "probability", tuple(value[0].tolist()))

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        made = cls(probability=probability, **hyperparameters)
        return made.initialise(1, len(made.probability))

    @property
    def is_exchangeable(self) -> bool:
        return False

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        if len(self.probability) != n_states:
            raise ValueError(f"probability has {len(self.probability)} entries, but the model has {n_states} states.")
        value = torch.tensor(self.probability, dtype=torch.float64)
        return self.with_parameters(probability=value.expand(n_restarts, -1).clone())

    def permuted(self, order: Tensor) -> Self:
        return replace(super().permuted(order), probability=tuple(self.probability[k] for k in order.tolist()))

    def n_parameters(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True, eq=False)
class StationaryInitial(Initial):
    """The law that the process has at a moment picked at random: it follows from the model's other parameters.

    For an HMM it is the stationary law of the transition matrix; for a semi-Markov model that of the sequence of
    segments, weighted by the states' mean durations. ``probability`` is what the model last made of it; the model makes
    it anew wherever it is used. See docs/maths/transitions.md, also for chains that do not reach every state.
    """

    name: ClassVar[str] = "stationary"
    follows_transition: ClassVar[bool] = True

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        return self.with_parameters(probability=_uniform(n_restarts, n_states))

    def n_parameters(self) -> int:
        return 0


def _uniform(n_restarts: int, n_states: int) -> Tensor:
    return torch.full((n_restarts, n_states), 1.0 / n_states, dtype=torch.float64)


INITIALS: dict[str, type[Initial]] = KINDS["initial"].families
