"""A prior that asks states to last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.dirichlet import concentration_for
from hsmm.components.transition.dense import Dense


@dataclass(frozen=True, kw_only=True, eq=False)
class Sticky(Dense):
    """A :class:`Dense` table whose prior has ``kappa`` >= 0 more on the diagonal: so many steps more that stayed.

    For HMMs; in a semi-Markov model the durations say how long a state lasts.
    """

    name: ClassVar[str] = "sticky"
    kappa: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.kappa, (int, float)) and 0.0 <= self.kappa < float("inf")):
            raise ValueError(f"kappa is {self.kappa!r}; expected a number >= 0, the steps that the prior adds.")

    def check_semi_markov(self) -> None:
        raise ValueError(
            "transition 'sticky' is given to a semi-Markov model, whose states have no self-transitions; give its "
            "duration a longer start or min_duration, and choose 'dense'."
        )

    def prior(self, like: Tensor) -> float | Tensor:
        extra = self.kappa * torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
        return concentration_for(self.concentration, like) + extra
