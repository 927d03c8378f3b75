"""Encoders that carry a memory from row to row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.context.base import Encoder, Weights, blocks, check_whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(Encoder):
    """``layers`` of ``hidden`` cells, whose memory is empty before the first row of a series."""

    gates: ClassVar[int]

    layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("layers", self.layers)

    @property
    def width(self) -> int:
        return self.hidden * (1 + self.bidirectional)

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        return recurrent_shapes(self.gates, inputs.shape[1], self.hidden, self.layers, self.bidirectional)

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        ways = [unrolled(self.gates, weights, rows, self.layers, "ahead")]
        if self.bidirectional:
            ways.append(unrolled(self.gates, weights, rows.flip(0), self.layers, "back").flip(0))
        return torch.cat(ways, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014)."""

    name: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997)."""

    name: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4


def recurrent_shapes(
    gates: int, n_inputs: int, hidden: int, layers: int, bidirectional: bool = False
) -> dict[str, tuple[int, ...]]:
    """The weights of ``layers`` cells, of both ways where the encoder is ``bidirectional``."""
    found: dict[str, tuple[int, ...]] = {}
    for way in ("ahead", "back")[: 1 + bidirectional]:
        for layer in range(layers):
            found[f"{way}_input_{layer}"] = (hidden if layer else n_inputs, gates * hidden)
            found[f"{way}_memory_{layer}"] = (hidden, gates * hidden)
            found[f"{way}_shift_{layer}"] = (gates * hidden,)
    return found


def unrolled(gates: int, weights: Weights, rows: Tensor, layers: int, way: str) -> Tensor:
    """(T, hidden) the last layer's output, block after block, the memory handed on."""
    flat = []
    for layer in range(layers):
        shift = weights[f"{way}_shift_{layer}"]
        flat += [weights[f"{way}_input_{layer}"].mT.contiguous(), weights[f"{way}_memory_{layer}"].mT.contiguous()]
        flat += [shift, torch.zeros_like(shift)]
    memory = rows.new_zeros(layers, 1, weights[f"{way}_memory_0"].shape[0])
    state, found = [memory, memory], []
    for block in blocks(rows):
        if gates == 4:
            output, *state = torch.lstm(block.unsqueeze(1), state, flat, True, layers, 0.0, False, False, False)
        else:
            output, memory = torch.gru(block.unsqueeze(1), memory, flat, True, layers, 0.0, False, False, False)
        found.append(output[:, 0])
    return torch.cat(found)[: len(rows)]
