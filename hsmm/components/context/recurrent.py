"""Encoders that carry a memory from row to row."""

from __future__ import annotations

from collections.abc import Sequence
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

    def fed(self, weights: Weights, rows: Tensor) -> Tensor:
        """(T, C) what the cells read of the rows of one series."""
        return rows

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        rows = self.fed(weights, rows)
        ways = [unrolled(self.gates, weights, rows, self.layers, "ahead")]
        if self.bidirectional:
            ways.append(unrolled(self.gates, weights, rows.flip(0), self.layers, "back").flip(0))
        return torch.cat(ways, 1)

    def encode_all(self, weights: Weights, series: Sequence[Tensor]) -> Tensor:
        """Together where a gradient is asked for, which other series may then move in its last bits."""
        learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights.values())
        if not learns or len(series) == 1:
            return super().encode_all(weights, series)
        return self.encode_together(weights, series)

    def encode_together(self, weights: Weights, series: Sequence[Tensor]) -> Tensor:
        """All of them a row at a time."""
        series = [self.fed(weights, rows) for rows in series]
        ways = [together(self.gates, weights, series, self.layers, "ahead")]
        if self.bidirectional:
            flipped = together(self.gates, weights, [rows.flip(0) for rows in series], self.layers, "back")
            ways.append([rows.flip(0) for rows in flipped])
        return torch.cat([torch.cat(way) for way in ways], 1)


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
    flat = _cells(weights, layers, way)
    memory = rows.new_zeros(layers, 1, weights[f"{way}_memory_0"].shape[0])
    state, found, rest = [memory, memory], [], (True, layers, 0.0, _is_trained(rows), False)
    for block in blocks(rows):
        if gates == LSTM.gates:
            output, *state = torch.lstm(block.unsqueeze(1), state, flat, *rest, False)
        else:
            output, memory = torch.gru(block.unsqueeze(1), memory, flat, *rest, False)
        found.append(output[:, 0])
    return torch.cat(found)[: len(rows)]


def together(gates: int, weights: Weights, series: Sequence[Tensor], layers: int, way: str) -> list[Tensor]:
    """The last layer's output (T, hidden) of each series, all of them a row at a time."""
    packed = torch.nn.utils.rnn.pack_sequence(list(series), enforce_sorted=False)
    flat = _cells(weights, layers, way)
    blank = packed.data.new_zeros(layers, len(series), weights[f"{way}_memory_0"].shape[0])
    rest = flat, True, layers, 0.0, _is_trained(packed.data), False
    if gates == LSTM.gates:
        output = torch.lstm(packed.data, packed.batch_sizes, [blank, blank], *rest)[0]
    else:
        output = torch.gru(packed.data, packed.batch_sizes, blank, *rest)[0]
    return torch.nn.utils.rnn.unpack_sequence(packed._replace(data=output))


def _is_trained(rows: Tensor) -> bool:
    """What cuDNN wants to know before it can be differentiated; without dropout it changes nothing else."""
    return rows.is_cuda and torch.is_grad_enabled()


def _cells(weights: Weights, layers: int, way: str) -> list[Tensor]:
    """The weights of the layers as torch takes them."""
    flat = []
    for layer in range(layers):
        shift = weights[f"{way}_shift_{layer}"]
        flat += [weights[f"{way}_input_{layer}"].mT.contiguous(), weights[f"{way}_memory_{layer}"].mT.contiguous()]
        flat += [shift, torch.zeros_like(shift)]
    return flat
