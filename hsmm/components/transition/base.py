"""What every law of the next state offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.register import KINDS
from hsmm.sequences import Sequences
from hsmm.types import StateMatrix, StateMatrixSeries, StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Transition(Component):
    """P(next state | state): one table for all rows or, where it depends on covariates, one for each.

    ``self_transitions`` is set by the model: True for an HMM; an HSMM's diagonal is zero, but for absorbing rows.
    """

    kind: ClassVar[str] = "transition"
    first_kind: ClassVar[str] = "segments"
    """What starts are called that begin with :meth:`first_states`."""

    self_transitions: bool = False

    @property
    def is_exchangeable(self) -> bool:
        """Whether the states may be numbered anew without changing what was asked for."""
        return True

    @property
    @abstractmethod
    def n_states(self) -> int: ...

    @abstractmethod
    def log_potentials(self, sequences: Sequences | None = None) -> StateMatrix | StateMatrixSeries:
        """(R, K, K), or (R, N, K, K) with row n for the step from n to n + 1; only these need the ``sequences``."""

    @abstractmethod
    def typical(self) -> StateMatrix:
        """(R, K, K) the table; of one that depends on covariates, where each is at its mean in the fit."""

    @abstractmethod
    def initialise(self, sequences: Sequences, mean_dwell: StateVector, generator: torch.Generator) -> Self:
        """Rough moves and, for an HMM, the diagonal that gives these mean dwell times (R, K) in steps."""

    @abstractmethod
    def maximise(
        self, sequences: Sequences, counts: StateMatrix | StateMatrixSeries, held: Collection[str] = ()
    ) -> Self: ...

    def first_states(
        self, sequences: Sequences, n_restarts: int, n_states: int, generator: torch.Generator
    ) -> Tensor | None:
        """(R, N) rough states to start from, where these moves can follow only some; None where they can follow any."""
        return None

    def check_semi_markov(self) -> None:
        """Raise ``ValueError`` if this family has no meaning in a semi-Markov model."""

    @property
    def n_absorbing(self) -> int:
        """States that no parameters could make end."""
        return int(self.n_states == 1)


TRANSITIONS: dict[str, type[Transition]] = KINDS["transition"].families
