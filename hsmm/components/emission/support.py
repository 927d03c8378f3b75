"""What values a law may be asked about, with rows that show what they look like."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_LEVELS = 3


@dataclass(frozen=True)
class Support:
    """The values that features may have.

    - ``words``: how a message says it
    - ``contains``: whether each of some values is among them; the probability of one that is may still be zero
    - ``inside``: one of them, to stand in for a missing value
    - ``is_discrete``: whether densities are probabilities, so that many rows hold few values
    - ``placed``: some of them, from levels (N, F) around 1 and uniform numbers (N, F), rising with both
    - ``atoms``: values that have a probability among others that have a density
    """

    words: str
    contains: Callable[[Tensor], Tensor]
    inside: float
    is_discrete: bool
    placed: Callable[[Tensor, Tensor], Tensor]
    atoms: tuple[float, ...] = ()

    def example(self, n_rows: int, n_features: int, generator: torch.Generator) -> Tensor:
        """(N, F) rows of a few levels, one after the other, as a law of as many states expects them."""
        level = 0.2 + 2.0 * torch.rand((_LEVELS, n_features), generator=generator, dtype=torch.float64)
        of_row = torch.arange(n_rows) * _LEVELS // n_rows
        share = torch.rand((n_rows, n_features), generator=generator, dtype=torch.float64)
        return self.placed(level[of_row], share)


def is_count(values: Tensor) -> Tensor:
    """Whether values are whole numbers >= 0."""
    return (values >= 0) & (values == values.floor())


def wrapped(angles: Tensor) -> Tensor:
    """Angles in radians, moved by whole turns to where they lie from -π to π."""
    return torch.remainder(angles + math.pi, 2.0 * math.pi) - math.pi


NUMBERS = Support(
    "numbers", torch.isfinite, 0.0, False, lambda level, share: 3.0 * level + level.sqrt() * torch.logit(share, 1e-9)
)
POSITIVE = Support("numbers > 0", lambda values: values > 0, 1.0, False, lambda level, share: -level * share.log())
ZERO_OR_POSITIVE = Support(
    "numbers >= 0",
    lambda values: (values >= 0) & values.isfinite(),
    0.0,
    False,
    lambda level, share: -level * torch.where(share < 0.3, 1.0, share).log(),
    atoms=(0.0,),
)
ANGLES = Support(
    "angles in radians, from -2π to 2π",
    lambda values: values.abs() <= 2.0 * math.pi + 1e-9,
    0.0,
    False,
    lambda level, share: (1.5 * (level - 1.0) + 0.3 * torch.logit(share, 1e-3)).clamp(-math.pi, math.pi),
)
COUNTS = Support("whole numbers >= 0", is_count, 0.0, True, lambda level, share: (-6.0 * level * share.log()).floor())
BINARY = Support(
    "0 or 1",
    lambda values: (values == 0) | (values == 1),
    0.0,
    True,
    lambda level, share: (share > 1.0 / (1.0 + level)).double(),
)
SYMBOLS = Support(
    "whole numbers >= 0, its symbols", is_count, 0.0, True, lambda level, share: (5.0 * share ** (1.0 / level)).floor()
)
