"""Moves that are forbidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.dirichlet import as_tuples, reordered
from hsmm.components.transition.dense import Dense


@dataclass(frozen=True, kw_only=True, eq=False)
class Masked(Dense):
    """A :class:`Dense` table with zeros that stay zero: state i may be followed by j where ``allowed[i][j]`` is True.

    Every state needs a successor. In a semi-Markov model the diagonal says nothing, unless it is all that a state has:
    that state is absorbing. The mask tells the states apart, so a fit does not number them anew.
    """

    name: ClassVar[str] = "masked"
    allowed: Sequence[Sequence[bool]]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "allowed", as_mask(self.allowed))

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        """``allowed`` is by default where ``probability`` is positive."""
        return super().from_parameters(probability, **{"allowed": np.asarray(probability) > 0, **hyperparameters})

    @property
    def is_exchangeable(self) -> bool:
        return False

    def known(self, n_states: int) -> Tensor:
        if len(self.allowed) != n_states:
            raise ValueError(f"allowed is a mask of {len(self.allowed)} states, but the model has {n_states}.")
        return torch.tensor(self.allowed, dtype=torch.bool)

    def permuted(self, order: Tensor) -> Self:
        return replace(super().permuted(order), allowed=reordered(self.allowed, order))


def as_mask(allowed: Any) -> tuple[tuple[bool, ...], ...]:
    """(K, K) of True and False. Raises ``ValueError`` for anything else, and for states without successor."""
    try:
        mask = np.asarray(allowed, dtype=np.float64)
    except (TypeError, ValueError):
        mask = np.empty(0)
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or not mask.size or not np.isin(mask, (0.0, 1.0)).all():
        raise ValueError(f"allowed is {allowed!r}; expected (n_states, n_states) of True and False.")
    stuck = np.flatnonzero(mask.sum(1) == 0.0).tolist()
    if stuck:
        raise ValueError(
            f"allowed gives states {stuck} no successor; allow one, itself if the state is to be absorbing."
        )
    return as_tuples(mask.astype(bool).tolist())
