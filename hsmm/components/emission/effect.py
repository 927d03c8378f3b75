"""What of an emission follows the context of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

Quantity: TypeAlias = Literal["mean", "standard deviation", "scale", "probability"]
Scale: TypeAlias = Literal["identity", "log", "logit"]


@dataclass(frozen=True, eq=False)
class Effect:
    """One ``quantity`` of a ``feature`` (its column) under the first model: ``values`` (N, K) by row and state.

    ``scale`` is that on which its error is symmetric; ``symbol``, of a probability, the value whose it is.
    """

    feature: int
    quantity: Quantity
    values: Tensor
    scale: Scale
    symbol: int | None = None


def effects_of(quantity: Quantity, values: Tensor, scale: Scale) -> list[Effect]:
    """One for each feature of ``values`` (N, K, F)."""
    return [Effect(feature, quantity, own, scale) for feature, own in enumerate(values.unbind(-1))]


def chances_of(probability: Tensor) -> list[Effect]:
    """One for each feature and symbol of ``probability`` (N, K, F, M)."""
    return [
        Effect(feature, "probability", own, "logit", symbol)
        for feature, of_feature in enumerate(probability.unbind(2))
        for symbol, own in enumerate(of_feature.unbind(-1))
    ]
