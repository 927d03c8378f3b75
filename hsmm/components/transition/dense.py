"""Every state may follow every other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from torch import Tensor

from hsmm.components.dirichlet import as_concentration, concentration_for, reordered
from hsmm.components.transition.table import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Table):
    """Parameter ``probability`` (R, K, K), rows with a Dirichlet prior of this ``concentration`` > 0 (1: none).

    It is a number or (K, K), one for each cell. Below 1 the prior asks for few moves: see
    :data:`hsmm.components.dirichlet.FLOOR`.
    """

    name: ClassVar[str] = "dense"
    concentration: float | Sequence[Sequence[float]] = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "concentration", as_concentration(self.concentration, 2))

    @property
    def is_exchangeable(self) -> bool:
        if isinstance(self.concentration, (int, float)):
            return True
        table = np.asarray(self.concentration)
        moves = table[~np.eye(len(table), dtype=bool)]
        return bool((np.diag(table) == table[0, 0]).all() and (moves == moves[:1]).all())

    def prior(self, like: Tensor) -> float | Tensor:
        return concentration_for(self.concentration, like)

    def permuted(self, order: Tensor) -> Self:
        moved = super().permuted(order)
        if isinstance(self.concentration, (int, float)):
            return moved
        return replace(moved, concentration=reordered(self.concentration, order))
