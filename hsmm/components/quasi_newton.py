"""L-BFGS (Nocedal & Wright 2006, chapter 7) of R independent problems side by side."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MEMORY = 10
_TRIALS = 25
_SUFFICIENT = 1e-4

Evaluated = tuple[Tensor, Tensor, Tensor]
Evaluate = Callable[[Tensor, Tensor], Evaluated]


class Ascent:
    """Steps uphill; remembers the last moves (R, P) and how the gradient changed along them."""

    def __init__(self) -> None:
        self._moves: list[Tensor] = []
        self._bends: list[Tensor] = []

    def step(self, evaluate: Evaluate, x: Tensor, value: Tensor, gradient: Tensor) -> Evaluated:
        """Vectors, values and gradients after one step; where no step climbs, those given.

        ``evaluate`` is asked for some problems, by trials and by their indices: it gives the vectors it moved the
        trials to, the values and the gradients.
        """
        direction = self._direction(gradient)
        downhill = _dot(direction, gradient) <= 0
        direction = torch.where(downhill, gradient, direction)
        fresh = (
            ~torch.stack([bend.any(-1) for bend in self._bends]).any(0) if self._bends else torch.ones_like(value) > 0
        )
        unit = gradient.abs().sum(-1, keepdim=True).clamp(min=1.0)
        direction = torch.where(fresh.unsqueeze(-1), direction / unit, direction)
        promised = _dot(direction, gradient).squeeze(-1)
        size = torch.ones_like(value)
        reached = (x, value, gradient)
        going = torch.arange(len(x), device=x.device)
        for _ in range(_TRIALS):
            length, least = size[going], value[going]
            trial = evaluate(x[going] + length.unsqueeze(-1) * direction[going], going)
            climbs = (trial[1] >= least + _SUFFICIENT * length * promised[going]) & trial[1].isfinite()
            there = climbs.nonzero().flatten()
            arrived = going[there]
            reached = tuple(  # type: ignore[assignment]
                old.index_copy(0, arrived, new[there]) for new, old in zip(trial, reached, strict=True)
            )
            size[going] = _shorter(length, least, trial[1], promised[going])
            going = going[~climbs]
            if not len(going):
                break
        self._remember(reached[0] - x, gradient - reached[2])
        self._forget(going)
        return reached

    def take(self, restarts: Tensor) -> None:
        """Keep only these problems."""
        self._moves = [move[restarts] for move in self._moves]
        self._bends = [bend[restarts] for bend in self._bends]

    def _remember(self, move: Tensor, bend: Tensor) -> None:
        curved = _dot(move, bend) > 1e-10 * bend.norm(dim=-1, keepdim=True) * move.norm(dim=-1, keepdim=True)
        self._moves = [*self._moves, torch.where(curved, move, 0.0)][-_MEMORY:]
        self._bends = [*self._bends, torch.where(curved, bend, 0.0)][-_MEMORY:]

    def _forget(self, problems: Tensor) -> None:
        """What led nowhere."""
        if len(problems):
            self._moves = [move.index_fill(0, problems, 0.0) for move in self._moves]
            self._bends = [bend.index_fill(0, problems, 0.0) for bend in self._bends]

    def _direction(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion; pairs of no curvature are zero and do nothing."""
        along, shares = gradient, []
        pairs = list(zip(self._moves, self._bends, strict=True))
        for move, bend in reversed(pairs):
            share = _ratio(_dot(move, along), _dot(move, bend))
            along = along - share * bend
            shares.append(share)
        along = along * self._scale(gradient)
        for (move, bend), share in zip(pairs, reversed(shares), strict=True):
            along = along + move * (share - _ratio(_dot(bend, along), _dot(move, bend)))
        return along

    def _scale(self, like: Tensor) -> Tensor:
        """(R, 1) the newest curvature along a move."""
        scale = torch.ones_like(like[:, :1])
        for move, bend in zip(self._moves, self._bends, strict=True):
            square = _dot(bend, bend)
            scale = torch.where(square > 0, _ratio(_dot(move, bend), square), scale)
        return scale


def _shorter(size: Tensor, value: Tensor, trial: Tensor, promised: Tensor) -> Tensor:
    """The top of the parabola through value, slope and trial, between a tenth and a half of the step."""
    top = 0.5 * promised * size**2 / (promised * size - (trial - value)).clamp(min=1e-300)
    return torch.where(trial.isfinite(), top.clamp(min=0.1 * size, max=0.5 * size), 0.1 * size)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    return torch.where(y > 0, x / y.clamp(min=1e-300), 0.0)
