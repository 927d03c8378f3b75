"""Every state may follow every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import (
    Constraint,
    as_parameter,
    check_concentration,
    check_distribution,
    dirichlet_mode,
)
from hsmm.components.transition.base import Transition
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Transition):
    """Parameter ``probability`` (R, K, K), rows with a Dirichlet prior of this ``concentration`` (1: none)."""

    name: ClassVar[str] = "dense"
    state_axes: ClassVar = {"probability": (1, 2)}
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check_concentration(self.concentration)

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        value = as_parameter(probability, "transition_prob", (2,))
        if value.shape[1] != value.shape[2]:
            raise ValueError(f"transition_prob has shape {tuple(value.shape[1:])}; expected (n_states, n_states).")
        check_distribution(value.numpy(), "transition_prob")
        made = cls(parameters={"probability": value}, **hyperparameters)
        diagonal = value[0].diagonal()
        if not made.self_transitions and bool(((diagonal > 0) & (diagonal < 1)).any()):
            raise ValueError(
                "transition_prob has diagonal entries strictly between 0 and 1; in a semi-Markov model the duration "
                "table says how long a state lasts, so expected 0, or 1 for an absorbing state."
            )
        return made

    @property
    def n_states(self) -> int:
        return self.parameters["probability"].shape[-1]

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrix:
        return self.parameters["probability"].log()

    def initialise(
        self,
        sequences: Sequences,
        mean_dwell: StateVector,
        generator: torch.Generator,
    ) -> Self:
        r, k = mean_dwell.shape
        moves = 1.0 + torch.rand((r, k, k), generator=generator, dtype=torch.float64)
        if k > 1:
            moves = moves * (1.0 - torch.eye(k, dtype=torch.float64))
        moves = moves / moves.sum(-1, keepdim=True)
        if self.self_transitions and k > 1:
            stay = torch.diag_embed(1.0 - 1.0 / mean_dwell)
            moves = moves / mean_dwell[..., None] + stay
        return self.with_parameters(probability=moves)

    def maximise(self, sequences: Sequences, counts: StateMatrix) -> Self:
        """Best rows; one that was never left stays as it is."""
        old = self.parameters["probability"]
        return self.with_parameters(probability=dirichlet_mode(counts, self.concentration, old, allowed=old > 0))

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def log_prior(self) -> Tensor:
        cells = self.parameters["probability"]
        return torch.where(cells > 0, torch.xlogy(self.concentration - 1.0, cells), 0.0).sum((-1, -2))

    def n_parameters(self) -> int:
        k = self.parameters["probability"].shape[-1]
        return 0 if k == 1 else k * (k - 1) if self.self_transitions else k * (k - 2)
