"""States that come one after the other and never again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.transition.dense import Dense
from hsmm.sequences import Sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftToRight(Dense):
    """A :class:`Dense` table without ways back: from a state to itself or to later ones, the last being absorbing.

    ``max_step`` is how many states a move may go ahead, by default as far as there are states; 1 skips none. In a
    semi-Markov model only the last state follows itself. For series that begin at the beginning, combine it with
    ``hsmm.initials.FixedInitial(probability=(1, 0, ...))``. States keep their numbers, which are their order in time.
    """

    name: ClassVar[str] = "left_to_right"
    max_step: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        step = self.max_step
        if step is not None and (not isinstance(step, int) or isinstance(step, bool) or step < 1):
            raise ValueError(f"max_step is {step!r}; expected a whole number >= 1, or None for any.")

    @property
    def is_exchangeable(self) -> bool:
        return False

    def known(self, n_states: int) -> Tensor:
        ahead = torch.ones(n_states, n_states, dtype=torch.bool).triu()
        return ahead if self.max_step is None else ahead.tril(self.max_step)

    def first_states(
        self, sequences: Sequences, n_restarts: int, n_states: int, generator: torch.Generator
    ) -> Tensor | None:
        """Contiguous stretches in the states' order, each series cut at random; the first restart in equal parts."""
        weight = torch.rand((n_restarts, n_states), generator=generator, dtype=torch.float64) + 0.2
        weight[0] = 1.0
        cuts = (weight.cumsum(1) / weight.sum(1, keepdim=True))[:, :-1].contiguous()
        start = sequences.offsets[:-1].repeat_interleave(sequences.lengths)
        length = sequences.lengths.repeat_interleave(sequences.lengths)
        position = ((torch.arange(sequences.n_rows, device=start.device) - start + 0.5) / length).cpu()
        return torch.searchsorted(cuts, position.expand(n_restarts, -1).contiguous())
