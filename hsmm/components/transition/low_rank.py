"""Many states whose moves go through a few classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter, check_distribution, safe_log
from hsmm.components.transition.base import Transition
from hsmm.errors import warn
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateVector

_STEPS = 10  # of the classes' own EM in an M-step
_LEAST = 1e-12  # of a state's moves that lead elsewhere


@dataclass(frozen=True, eq=False)
class LowRank(Transition):
    """A move from i to j through one of ``rank`` classes: Σ_z P(z | i) P(j | z), 2 · K · rank numbers for K states.

    Of more classes than there are states, as many are made, with a warning. In a semi-Markov model moves that lead
    back to the state itself are drawn again, so that the diagonal is exactly zero. Parameters ``leave`` (R, K, rank),
    P(class | state), and ``enter`` (R, rank, K), P(state | class); classes have no numbers of their own. For many
    states that are each left for few others; states that last are those of a semi-Markov model, as no table of low
    rank is near to the identity. docs/maths/transitions.md.
    """

    name: ClassVar[str] = "low_rank"
    state_axes: ClassVar = {"leave": (1,), "enter": (2,)}

    rank: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.rank, (int, np.integer)) or isinstance(self.rank, bool) or self.rank < 1:
            raise ValueError(f"rank is {self.rank!r}; expected a whole number >= 1, the classes that moves go through.")
        object.__setattr__(self, "rank", int(self.rank))

    @classmethod
    def from_parameters(cls, leave: Any, enter: Any, **hyperparameters: Any) -> Self:
        """``leave`` (K, rank), P(class | state), and ``enter`` (rank, K), P(state | class), rows that sum to one."""
        given = {"leave": as_parameter(leave, "leave", (2,)), "enter": as_parameter(enter, "enter", (2,))}
        made = cls(given["leave"].shape[-1], parameters=given, **hyperparameters)
        made.check()
        return made

    def check(self) -> None:
        leave, enter = self.parameters["leave"], self.parameters["enter"]
        if leave.ndim != 3 or 0 in leave.shape or enter.shape != (len(leave), *leave.mT.shape[1:]):
            raise ValueError(
                f"leave has shape {tuple(leave.shape[1:])} and enter {tuple(enter.shape[1:])}; expected (n_states, "
                "rank) and (rank, n_states)."
            )
        for name, value in self.parameters.items():
            check_distribution(value.numpy(), name)
        if bool((self._elsewhere().sum(-1) <= 0).any()):
            raise ValueError("leave and enter let a state move to itself alone; give it a class that enters another.")

    @property
    def n_states(self) -> int:
        return self.parameters["leave"].shape[1]

    @property
    def leave_(self) -> np.ndarray:
        """(K, rank) P(class | state)"""
        return self.fitted("leave")

    @property
    def enter_(self) -> np.ndarray:
        """(rank, K) P(state | class)"""
        return self.fitted("enter")

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrix:
        return safe_log(self.typical())

    def typical(self) -> StateMatrix:
        moves = self._elsewhere()
        return moves / moves.sum(-1, keepdim=True)

    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        """Classes at random; a table of low rank says little of how long states last."""
        r, k = mean_dwell.shape
        rank = min(self.rank, k)
        if 1 < k < self.rank:
            warn(
                f"rank is {self.rank} for {k} states; as many classes as states are made, which are every table: "
                f'expected fewer than {k}, or "dense".',
                UserWarning,
            )
        drawn = {"leave": torch.rand((r, k, rank), generator=generator, dtype=torch.float64)}
        drawn["enter"] = torch.rand((r, rank, k), generator=generator, dtype=torch.float64)
        weights = {name: 0.05 - (1.0 - value).log() for name, value in drawn.items()}
        return self.with_parameters(**{name: value / value.sum(-1, keepdim=True) for name, value in weights.items()})

    def maximise(self, sequences: Sequences, counts: StateMatrix, held: Collection[str] = ()) -> Self:
        """Steps of EM with the class of each move, and the moves drawn again, as what is not seen."""
        made = self
        for _ in range(_STEPS):
            made = made._stepped(counts)
        return made

    def constraints(self) -> Mapping[str, Constraint]:
        return {"leave": "simplex", "enter": "simplex"}

    def n_parameters(self) -> int:
        """The dimension of such tables: what classes can trade among themselves does not count."""
        _, k, rank = self.parameters["leave"].shape
        free = 2 * rank * k - rank * rank - k
        return min(free, k * (k - 1) if self.self_transitions else max(k * (k - 2), 0))

    def _elsewhere(self) -> Tensor:
        """(R, K, K) moves that count, in a semi-Markov model those to other states; rows need not sum to one."""
        moves = self.parameters["leave"] @ self.parameters["enter"]
        return moves if self._may_stay else moves * (1.0 - torch.eye(self.n_states, dtype=moves.dtype).to(moves))

    @property
    def _may_stay(self) -> bool:
        return self.self_transitions or self.n_states == 1

    def _stepped(self, counts: StateMatrix) -> Self:
        leave, enter = self.parameters["leave"], self.parameters["enter"]
        moves = leave @ enter
        if not self._may_stay:
            again = moves.diagonal(dim1=-2, dim2=-1)
            elsewhere = self._elsewhere().sum(-1).clamp(min=_LEAST)
            counts = counts + torch.diag_embed(counts.sum(-1) * again / elsewhere)
        ratio = torch.where(moves > 0, counts / moves.clamp(min=1e-300), 0.0)
        return self.with_parameters(
            leave=_shared(leave * (ratio @ enter.mT), leave), enter=_shared(enter * (leave.mT @ ratio), enter)
        )


def _shared(weights: Tensor, old: Tensor) -> Tensor:
    """Rows in proportion to weights; one without any stays."""
    total = weights.sum(-1, keepdim=True)
    return torch.where(total > 0, weights / total.clamp(min=1e-300), old)
