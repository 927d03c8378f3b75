"""Ordered states, each left for its neighbours alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.emission.base import standardised
from hsmm.components.transition.dense import Dense
from hsmm.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class Banded(Dense):
    """A :class:`Dense` table of moves by at most ``width`` states up or down, as between degrees of wear or of calm.

    With a width of 1 it is a chain of births and deaths. States keep their numbers, which are their order.
    """

    name: ClassVar[str] = "banded"
    width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.width, int) or isinstance(self.width, bool) or self.width < 1:
            raise ValueError(f"width is {self.width!r}; expected a whole number >= 1, how far a move may go.")

    @property
    def is_exchangeable(self) -> bool:
        return False

    def known(self, n_states: int) -> Tensor:
        return torch.ones(n_states, n_states, dtype=torch.bool).triu(-self.width).tril(self.width)

    def first_states(
        self, sequences: Sequences, n_restarts: int, n_states: int, generator: torch.Generator
    ) -> Tensor | None:
        """Rows in their order along a direction, cut at random; the first restart along the sum, in equal parts."""
        direction = torch.randn((sequences.n_features, n_restarts), generator=generator, dtype=torch.float64)
        weight = torch.rand((n_restarts, n_states), generator=generator, dtype=torch.float64) + 0.2
        direction[:, 0], weight[0] = 1.0, 1.0
        cuts = (weight.cumsum(1) / weight.sum(1, keepdim=True))[:, :-1].contiguous()
        height = (standardised(sequences).cpu() @ direction).mT
        place = height.argsort(dim=1, stable=True).argsort(dim=1)
        return torch.searchsorted(cuts, ((place + 0.5) / sequences.n_rows).contiguous())
