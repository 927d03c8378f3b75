"""First states of chains that run side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from hsmm.components.base import Constraint, safe_log
from hsmm.components.dirichlet import dirichlet_mode
from hsmm.components.factorial.members import MEMBER, as_chains, check_members, check_number, indicators, members
from hsmm.components.initial.laws import Initial
from hsmm.sequences import Sequences
from hsmm.types import StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorialInitial(Initial):
    """Each of the ``chains``, given by their numbers of states, begins by a law of its own: ``chain_0`` (R, k), …

    Parameter ``member`` (R, K, C) says which state of each chain every state holds.
    """

    name: ClassVar[str] = "factorial"
    states_are_apart: ClassVar[bool] = False

    chains: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "chains", as_chains(self.chains))

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        return {MEMBER: (1,), **{f"chain_{c}": () for c in range(len(self.chains))}}

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        check_number(self.chains, n_states)
        laws = {
            f"chain_{c}": torch.full((n_restarts, k), 1.0 / k, dtype=torch.float64) for c, k in enumerate(self.chains)
        }
        return self.with_parameters(member=members(self.chains, n_restarts), **laws)

    def log_potentials(self, sequences: Sequences | None = None) -> StateVector:
        member = self.parameters[MEMBER].long()
        laws = (safe_log(self.parameters[f"chain_{c}"]) for c in range(len(self.chains)))
        first, *others = (law.gather(1, member[..., c]) for c, law in enumerate(laws))
        return sum(others, first)

    def maximise(self, sequences: Sequences, counts: StateVector, held: Collection[str] = ()) -> Self:
        own = indicators(self.parameters[MEMBER], self.chains)
        best = {
            f"chain_{c}": dirichlet_mode((counts.unsqueeze(1) @ hot).squeeze(1), 1.0, self.parameters[f"chain_{c}"])
            for c, hot in enumerate(own)
        }
        return self.with_parameters(**best)

    def constraints(self) -> Mapping[str, Constraint]:
        return {f"chain_{c}": "simplex" for c in range(len(self.chains))}

    def n_parameters(self) -> int:
        return sum(self.chains) - len(self.chains)

    def check(self) -> None:
        check_members(self.parameters[MEMBER], self.chains)
