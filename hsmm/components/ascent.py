"""How far to go uphill: what every guarded Newton step and scaled gradient step ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from hsmm.numerics import surely_all

Point = TypeVar("Point")


def longest_step(
    here: Point,
    reached: Tensor,
    trial: Callable[[float], Point],
    value: Callable[[Point], Tensor],
    sizes: Sequence[float],
    choose: Callable[[Tensor, Point, Point], Point],
    rounding: float | None = None,
) -> tuple[Point, Tensor, Tensor]:
    """Points after the first of the step ``sizes`` that lowers no objective, their values, and which have moved.

    There are as many objectives as ``reached`` has entries, each with a part of the point, and each goes its own way:
    ``choose(moved, one, other)`` puts points together. With ``rounding`` a value may fall short of what was reached by
    this share of it, so that rounding does not decide whether a last, tiny step is taken; without, it must rise.
    """
    least = reached if rounding is None else reached - rounding * reached.abs()
    moved, best, found = torch.zeros_like(reached, dtype=torch.bool), here, reached
    for size in sizes:
        point = trial(size)
        there = value(point)
        uphill = (there > least if rounding is None else there >= least) & ~moved
        best, found, moved = choose(uphill, point, best), torch.where(uphill, there, found), moved | uphill
        if surely_all(moved):
            break
    return best, found, moved


def choose_entries(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``one`` where ``chosen``, whose axes are the first of theirs, the other elsewhere."""
    return torch.where(chosen.view(*chosen.shape, *[1] * (one.ndim - chosen.ndim)), one, other)
