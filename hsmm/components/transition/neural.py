"""Moves whose logits a network makes of the state that is left and, where it reads one, of the context."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.network import StateNetwork, climbed
from hsmm.components.transition.base import Transition
from hsmm.components.transition.dense import Dense
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateMatrixSeries, StateVector

_LEAST = 1e-12  # of a first probability


@dataclass(frozen=True, kw_only=True, eq=False)
class Neural(StateNetwork, Transition):
    """log P(j follows i) = output j of a network of state i, normalised; see
    :class:`~hsmm.components.network.StateNetwork`.

    It makes one table or, where it ``reads_context``, one for each row: the step from row n to row n + 1 reads the
    context of row n + 1.
    """

    name: ClassVar[str] = "neural"

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        return self.network_axes | {"weight": (2,), "bias": (1,)}

    @property
    def n_states(self) -> int:
        return self.parameters["embed"].shape[1]

    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrix | StateMatrixSeries:
        if not self.reads_context:
            return self.normalised(self.numbers())[:, 0]
        if sequences is None:
            raise ValueError("neural transitions that read a context are known beside it alone; give the sequences.")
        return self.normalised(self.numbers(self.ahead(sequences)))

    def typical(self) -> StateMatrix:
        return self.normalised(self.numbers())[:, 0].exp()

    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        moves = Dense(self_transitions=self.self_transitions).initialise(sequences, mean_dwell, generator).typical()
        logits = torch.where(moves > 0, moves.clamp(min=_LEAST).log(), 0.0)
        return self.fitted_to(logits.to(sequences.values.device)).beside(sequences)

    def maximise(
        self, sequences: Sequences, counts: StateMatrix | StateMatrixSeries, held: Collection[str] = ()
    ) -> Self:
        def expected(law: Self) -> Tensor:
            table = law.log_potentials(sequences)
            return torch.where(counts > 0, counts * table, 0.0).flatten(1).sum(1) + law.log_prior()

        return climbed(self, expected)

    def n_parameters(self) -> int:
        n_choices = int(self._possible().sum(-1)[0]) - 1
        if not n_choices:
            return 0
        n_states = self.n_states
        return n_states * n_choices if not self.reads_context else self.n_network(n_states - 1)

    def check(self) -> None:
        self.check_network(self.n_states)

    def ahead(self, sequences: Sequences) -> Tensor | None:
        """(R, N, C) the standardised context of the next row, of a series' last row its own, which no step reads."""
        context = self.standard(sequences)
        if context is None:
            return None
        following = torch.arange(1, context.shape[1] + 1, device=context.device)
        following[sequences.offsets[1:] - 1] -= 1
        return context[:, following]

    def normalised(self, logits: Tensor) -> Tensor:
        """Log-probabilities of the moves that can be made, from logits (..., K, K)."""
        return logits.masked_fill(~self._possible(), -torch.inf).log_softmax(-1)

    def normalised_of(self, states: Tensor, gated: Tensor | None = None) -> Tensor:
        """(R, M, K) log-probabilities of what follows mixed states (R, M, K), of a chain that may stay."""
        return self.numbers_of(states, gated).log_softmax(-1)

    def _possible(self) -> Tensor:
        """(K, K) moves that can be made."""
        k = self.n_states
        stays = torch.eye(k, dtype=torch.bool, device=self.parameters["embed"].device)
        return torch.ones_like(stays) if self.self_transitions or k == 1 else ~stays
