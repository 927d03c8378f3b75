"""An encoder that weighs the rows before by what they hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.context.base import BLOCK, Encoder, Weights, blocks, by_blocks, check_whole

_NEVER = -1e30  # a weight's logarithm: finite, so that a row without any row to look at has no NaN


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention(Encoder):
    """Self-attention of ``heads`` over the last ``window`` rows, this one among them, with a bias for each lag.

    A bidirectional encoder looks as many rows ahead. What it finds is added to the row's own features.
    """

    name: ClassVar[str] = "attention"

    heads: int = 4
    window: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("heads", self.heads)
        check_whole("window", self.window)
        if self.hidden % self.heads:
            raise ValueError(f"hidden is {self.hidden} with {self.heads} heads; expected a multiple of them.")

    def shapes(self, inputs: Tensor) -> dict[str, tuple[int, ...]]:
        lags = self.window * (1 + self.bidirectional) - self.bidirectional
        square = (self.hidden, self.hidden)
        return {
            "embed": (inputs.shape[1], self.hidden), "embed_shift": (self.hidden,),
            "query": square, "key": square, "value": square, "merge": square, "lag": (lags, self.heads),
        }  # fmt: skip

    def encode(self, weights: Weights, rows: Tensor) -> Tensor:
        own = torch.tanh(by_blocks(rows, weights["embed"], weights["embed_shift"]))
        query, key, value = (by_blocks(own, weights[name]) for name in ("query", "key", "value"))
        before = self.window - 1
        after = before if self.bidirectional else 0
        there = own.new_ones(len(own), 1)
        lag = before + torch.arange(BLOCK).unsqueeze(1) - torch.arange(before + BLOCK + after)
        lag = lag.to(rows.device)
        inside = (lag >= -after) & (lag <= before)
        bias = weights["lag"][(lag + after).clamp(0, before + after)]  # (BLOCK, window, heads)
        found = []
        for q, k, v, seen in zip(
            blocks(query), blocks(key, before, after), blocks(value, before, after), blocks(there, before, after),
            strict=True,
        ):  # fmt: skip
            q, k, v = (x.unflatten(1, (self.heads, -1)).transpose(0, 1) for x in (q, k, v))
            score = q @ k.mT / math.sqrt(self.hidden / self.heads) + bias.permute(2, 0, 1)
            score = score.masked_fill(~(inside & (seen[:, 0] > 0)), _NEVER)
            found.append((score.softmax(-1) @ v).transpose(0, 1).flatten(1))
        return own + torch.tanh(by_blocks(torch.cat(found)[: len(rows)], weights["merge"]))
