"""Moves of chains that run side by side, each by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import Constraint, safe_log
from hsmm.components.dirichlet import check_concentration, dirichlet_log_density, dirichlet_mode
from hsmm.components.factorial.members import MEMBER, as_chains, check_members, check_number, indicators, members
from hsmm.components.factorial.steps import first_levels
from hsmm.components.transition.base import Transition
from hsmm.components.transition.dense import Dense
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Factorial(Transition):
    """Each of the ``chains``, given by their numbers of states, moves by a table of its own: ``chain_0`` (R, k, k), …

    Rows have a Dirichlet prior of this ``concentration`` >= 1 (1: none). Parameter ``member`` (R, K, C) says which
    state of each chain every state holds; a move of the states is one of every chain. For HMMs.
    """

    name: ClassVar[str] = "factorial"
    states_are_apart: ClassVar[bool] = False
    first_kind: ClassVar[str] = "steps"

    chains: Sequence[int]
    concentration: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "chains", as_chains(self.chains))
        check_concentration(self.concentration)

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        return {MEMBER: (1,), **dict.fromkeys(self._tables, ())}

    @property
    def n_states(self) -> int:
        return self.parameters[MEMBER].shape[1]

    def check_semi_markov(self) -> None:
        raise ValueError(
            "transition 'factorial' is given to a semi-Markov model: chains that end at different times have no "
            "durations together; choose hsmm.HMM, or hsmm.FactorialHMM, whose chains may have durations each."
        )

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrix:
        return safe_log(self.typical())

    def typical(self) -> StateMatrix:
        member, n_states = self.parameters[MEMBER].long(), self.n_states
        moves = member.new_ones((), dtype=torch.float64)
        for c, name in enumerate(self._tables):
            own, table = member[..., c], self.parameters[name]
            rows = table.gather(1, own.unsqueeze(-1).expand(-1, -1, table.shape[-1]))
            moves = moves * rows.gather(2, own.unsqueeze(1).expand(-1, n_states, -1))
        return moves

    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        n_restarts, n_states = mean_dwell.shape
        check_number(self.chains, n_states)
        member = members(self.chains, n_restarts)
        tables = {}
        for name, hot, k in zip(self._tables, indicators(member, self.chains), self.chains, strict=True):
            # A state ends when any chain moves, so that a chain's own lasts as many times longer.
            dwell = len(self.chains) * (mean_dwell.unsqueeze(1) @ hot).squeeze(1) * k / n_states
            moves = Dense(self_transitions=True).initialise(sequences, dwell, generator)
            tables[name] = moves.parameters["probability"]
        return self.with_parameters(member=member, **tables)

    def first_states(
        self, sequences: Sequences, n_restarts: int, n_states: int, generator: torch.Generator
    ) -> Tensor | None:
        """The combination of levels that each row lies nearest to, each chain's levels some of the steps seen."""
        check_number(self.chains, n_states)
        cpu = sequences.to(torch.device("cpu"))
        first = first_levels(self.chains, cpu, n_restarts, generator)
        hot = indicators(members(self.chains, n_restarts), self.chains)
        total = first.base + sum(own @ level for own, level in zip(hot, first.levels, strict=True))
        unit, values = cpu.scale, torch.where(cpu.observed, cpu.values, first.base)
        return torch.stack([torch.cdist(values / unit, levels / unit).argmin(1) for levels in total])

    def maximise(self, sequences: Sequences, counts: StateMatrix, held: Collection[str] = ()) -> Self:
        own = indicators(self.parameters[MEMBER], self.chains)
        best = {
            name: dirichlet_mode(
                hot.mT @ counts @ hot, self.concentration, self.parameters[name], allowed=self.parameters[name] > 0
            )
            for name, hot in zip(self._tables, own, strict=True)
        }
        return self.with_parameters(**best)

    def constraints(self) -> Mapping[str, Constraint]:
        return dict.fromkeys(self._tables, "simplex")

    def log_prior(self) -> Tensor:
        own = (dirichlet_log_density(self.parameters[name], self.concentration).sum(-1) for name in self._tables)
        first, *others = own
        return sum(others, first)

    def n_parameters(self) -> int:
        return sum(k * (k - 1) for k in self.chains)

    def check(self) -> None:
        check_members(self.parameters[MEMBER], self.chains)

    @property
    def _tables(self) -> list[str]:
        return [f"chain_{c}" for c in range(len(self.chains))]
