"""One table of move probabilities for all rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter, check_distribution, safe_log
from hsmm.components.dirichlet import dirichlet_log_density, dirichlet_mode, floored
from hsmm.components.transition.base import Transition
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Transition):
    """Parameter ``probability`` (R, K, K): each row a Dirichlet prior's mode on the cells that are :meth:`possible`."""

    state_axes: ClassVar = {"probability": (1, 2)}

    @abstractmethod
    def prior(self, like: Tensor) -> float | Tensor:
        """Dirichlet concentrations, a number or (K, K), for a table of this shape (R, K, K)."""

    def known(self, n_states: int) -> Tensor:
        """(K, K) the moves that the family knows, staying among them or not."""
        return torch.ones(n_states, n_states, dtype=torch.bool)

    def possible(self, n_states: int) -> Tensor:
        """(K, K) the possible moves; without self-transitions only a state that can do nothing else may stay."""
        moves, stays = self.known(n_states), torch.eye(n_states, dtype=torch.bool)
        if self.self_transitions:
            return moves
        absorbing = ~(moves & ~stays).any(-1, keepdim=True)
        return torch.where(absorbing, moves & stays, moves & ~stays)

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        value = as_parameter(probability, "transition_prob", (2,))
        if value.shape[1] != value.shape[2]:
            raise ValueError(f"transition_prob has shape {tuple(value.shape[1:])}; expected (n_states, n_states).")
        check_distribution(value.numpy(), "transition_prob")
        made = cls(parameters={"probability": value}, **hyperparameters)
        made.prior(value)
        diagonal = value[0].diagonal()
        if not made.self_transitions and bool(((diagonal > 0) & (diagonal < 1)).any()):
            raise ValueError(
                "transition_prob has diagonal entries strictly between 0 and 1; in a semi-Markov model the duration "
                "table says how long a state lasts, so expected 0, or 1 for an absorbing state."
            )
        beyond = (value[0] > 0) & ~made.known(made.n_states)
        if bool(beyond.any()):
            row, column = beyond.nonzero()[0].tolist()
            raise ValueError(
                f"transition_prob moves from state {row} to state {column}, which {made.name} does not allow."
            )
        return made

    @property
    def n_states(self) -> int:
        return self.parameters["probability"].shape[-1]

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrix:
        return safe_log(self.parameters["probability"])

    def typical(self) -> StateMatrix:
        return self.parameters["probability"]

    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        r, k = mean_dwell.shape
        weights = 1.0 + torch.rand((r, k, k), generator=generator, dtype=torch.float64)
        allowed, stays = self.possible(k), torch.eye(k, dtype=torch.bool)
        leaves = (allowed & ~stays).any(-1)
        moves = weights * torch.where(leaves[:, None], allowed & ~stays, allowed)
        moves = moves / moves.sum(-1, keepdim=True)
        both = (leaves & allowed.diagonal())[:, None]
        moves = torch.where(both, moves / mean_dwell[..., None] + torch.diag_embed(1.0 - 1.0 / mean_dwell), moves)
        self.prior(moves)
        return self.with_parameters(probability=moves)

    def maximise(self, sequences: Sequences, counts: StateMatrix, held: Collection[str] = ()) -> Self:
        """Best rows; one that was never left stays as it is, and so does a cell that is zero."""
        old = self.parameters["probability"]
        return self.with_parameters(probability=dirichlet_mode(counts, self.prior(old), old, allowed=old > 0))

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        made = super().with_free(coordinates)
        value = made.parameters["probability"]
        return made.with_parameters(probability=floored(value, made.prior(value), value > 0))

    def log_prior(self) -> Tensor:
        cells = self.parameters["probability"]
        return dirichlet_log_density(cells, self.prior(cells)).sum(-1)

    def n_parameters(self) -> int:
        return int((self.possible(self.n_states).sum(-1) - 1).sum())

    @property
    def n_absorbing(self) -> int:
        allowed = self.possible(self.n_states)
        return int((allowed.diagonal() & (allowed.sum(-1) == 1)).sum())
