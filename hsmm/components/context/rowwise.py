"""Encoders of each row alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.context.base import Encoder, Weights, by_blocks, check_whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Encoder):
    """A few directions of many columns, which all heads share."""

    name: ClassVar[str] = "linear"
    has_memory: ClassVar[bool] = False

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        return {"weight": (inputs.shape[1], self.hidden)}

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        return by_blocks(rows, weights["weight"])


@dataclass(frozen=True, kw_only=True, eq=False)
class MLP(Encoder):
    """``layers`` of ``hidden`` tanh units."""

    name: ClassVar[str] = "mlp"
    has_memory: ClassVar[bool] = False

    layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("layers", self.layers)

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            found[f"weight_{layer}"] = (self.hidden if layer else inputs.shape[1], self.hidden)
            found[f"shift_{layer}"] = (self.hidden,)
        return found

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        for layer in range(self.layers):
            rows = torch.tanh(by_blocks(rows, weights[f"weight_{layer}"], weights[f"shift_{layer}"]))
        return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding(Encoder):
    """Features of each symbol 0, 1, …, ``n_levels`` - 1 of a discrete context, those of several columns added up.

    ``n_levels`` is by default one more than the largest symbol in the fit; a symbol beyond is refused.
    """

    name: ClassVar[str] = "embedding"
    has_memory: ClassVar[bool] = False
    standardises: ClassVar[bool] = False

    n_levels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_levels is not None:
            check_whole("n_levels", self.n_levels)
        if self.source != "context":
            raise ValueError(f"source is {self.source!r}; an embedding reads symbols, so it expects 'context'.")

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        largest = float(inputs.max()) if self.n_levels is None else self.n_levels - 1
        _check_symbols(inputs, int(largest) + 1)
        return {"weight": (inputs.shape[1], int(largest) + 1, self.hidden)}

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        table = weights["weight"]
        _check_symbols(rows, table.shape[1])
        columns = torch.arange(len(table), device=rows.device)
        return table[columns, rows.long()].sum(1)

    def _example(self, n_columns: int) -> Tensor:
        return torch.full((1, n_columns), float(self.parameters["weight"].shape[2] - 1))


def _check_symbols(rows: Tensor, n_levels: int) -> None:
    wrong = (rows < 0) | (rows >= n_levels) | (rows != rows.floor())
    if bool(wrong.any()):
        raise ValueError(
            f"the context holds {float(rows[wrong][0]):g}; an embedding expects whole numbers from 0 to "
            f"{n_levels - 1}, the symbols of the fit. Recode the column, or raise n_levels."
        )
