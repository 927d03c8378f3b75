"""First states that depend on what is known where a series begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.head import LARGEST_SLOPE, LinearHead, with_constant
from hsmm.components.initial.laws import Initial
from hsmm.components.logistic import centred, newton_step
from hsmm.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class ContextualInitial(LinearHead, Initial):
    """log P(first state k) = bias_k + coef_k · context + constant, with the context of the series' first row.

    ``bias`` (R, K) and ``coef`` (R, K, C) sum to 0 over the states; see :class:`~hsmm.components.head.LinearHead`.
    """

    name: ClassVar[str] = "contextual"
    state_axes: ClassVar = {"bias": (1,), "coef": (1,), "centre": (), "spread": ()}

    def log_potentials(self, sequences: Sequences | None = None) -> Tensor:
        """(R, S, K), one law for each series; without series (R, K), that at the mean context."""
        if sequences is None:
            return self.parameters["bias"].log_softmax(-1)
        first = self.standard(sequences)[:, sequences.offsets[:-1]]
        return self.numbers(first).log_softmax(-1)

    def initialise(self, n_restarts: int, n_states: int) -> Self:
        return self.with_parameters(bias=torch.zeros(n_restarts, n_states, dtype=torch.float64))

    def maximise(self, sequences: Sequences, counts: Tensor, held: Collection[str] = ()) -> Self:
        """A damped Newton step for the expected first states (R, S, K), never downhill."""
        design = with_constant(self.standard(sequences)[:, sequences.offsets[:-1]])
        point = self.point().unsqueeze(1)
        every = torch.ones(point.shape[1:3], dtype=torch.bool, device=point.device)
        others = every.clone()
        others[:, 0] = False
        counted = counts.mT.unsqueeze(1).contiguous()
        relative = point - point[:, :, :1]
        return self.at(self.tamed(newton_step(relative, design, counted, every, others, self.penalty, 1e3)[:, 0]))

    def tamed(self, point: Tensor) -> Tensor:
        every = torch.ones_like(point[0, :, 0], dtype=torch.bool)
        return centred(point, every.unsqueeze(0)).clamp(-LARGEST_SLOPE, LARGEST_SLOPE)

    def n_parameters(self) -> int:
        return (self.parameters["bias"].shape[-1] - 1) * (1 + self.n_slopes())

    def check(self) -> None:
        self.check_head(tuple(self.parameters["bias"].shape[1:2]))
