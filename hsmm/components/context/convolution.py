"""Encoders that look at the rows around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.context.base import Encoder, Weights, blocks, check_whole
from hsmm.components.context.recurrent import LSTM, Recurrent, recurrent_shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class CNN(Encoder):
    """``layers`` of ``hidden`` tanh units over ``kernel_size`` rows, every layer's twice as far apart as the last's.

    The rows are those up to the present one; a bidirectional encoder centres them on it.
    """

    name: ClassVar[str] = "cnn"

    layers: int = 2
    kernel_size: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("layers", self.layers)
        _check_kernel(self.kernel_size, self.bidirectional)

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            found |= convolution_shapes(layer, self.hidden if layer else inputs.shape[1], self.hidden, self.kernel_size)
        return found

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        for layer in range(self.layers):
            rows = convolved(weights, rows, layer, centred=self.bidirectional)
        return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class CNNLSTM(Recurrent):
    """A convolution of ``channels`` over ``kernel_size`` rows, then ``layers`` of an LSTM of ``hidden`` cells."""

    name: ClassVar[str] = "cnn_lstm"
    gates: ClassVar[int] = LSTM.gates

    channels: int = 16
    kernel_size: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("channels", self.channels)
        _check_kernel(self.kernel_size, self.bidirectional)

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        return {
            **convolution_shapes(0, inputs.shape[1], self.channels, self.kernel_size),
            **recurrent_shapes(self.gates, self.channels, self.hidden, self.layers, self.bidirectional),
        }

    def fed(self, weights: Weights, rows: Tensor) -> Tensor:
        return convolved(weights, rows, 0, centred=self.bidirectional)


def _check_kernel(kernel_size: int, bidirectional: bool) -> None:
    check_whole("kernel_size", kernel_size)
    if bidirectional and kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is {kernel_size}; a bidirectional encoder expects an odd number.")


def convolution_shapes(layer: int, n_inputs: int, n_outputs: int, kernel_size: int) -> dict[str, tuple[int, ...]]:
    return {f"kernel_{layer}": (kernel_size, n_inputs, n_outputs), f"shift_{layer}": (n_outputs,)}


def convolved(weights: Weights, rows: Tensor, layer: int, *, centred: bool) -> Tensor:
    """(T, H) tanh of a convolution whose rows are 2^layer apart: up to each row, or ``centred`` on it."""
    kernel = weights[f"kernel_{layer}"]
    reach = (len(kernel) - 1) * 2**layer
    before, after = (reach // 2, reach // 2) if centred else (reach, 0)
    windows = [window.mT.unsqueeze(0) for window in blocks(rows, before, after)]
    found = [torch.nn.functional.conv1d(w, kernel.permute(2, 1, 0), dilation=2**layer)[0].mT for w in windows]
    return torch.tanh(torch.cat(found)[: len(rows)] + weights[f"shift_{layer}"])
