"""Newton's method by differences, for laws of one or two parameters: tens of launches of a GPU, where derivatives take
hundreds, and nothing that the host waits for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STEP = 1e-3  # beyond which rounding and the third derivative weigh alike in sums over many segments
_FLATTEST = 1e-8
_SIZES = (1.0, 0.25, 0.05, 0.005)


def ascended(shape: Tensor, objective: Callable[[Tensor], Tensor], within: Callable[[Tensor], Tensor]) -> Tensor:
    """(R, K, P) after the longest of a few sizes of a damped step that is not downhill, else as they were.

    ``objective`` gives (..., R, K) of parameters (..., R, K, P), which ``within`` moves into their bounds.
    """
    here, gradient, curvature = _derivatives(shape, objective)
    direction = _uphill(gradient.nan_to_num(0.0), curvature.nan_to_num(0.0))
    direction = direction / direction.norm(dim=-1, keepdim=True).clamp(min=1.0)
    trials = within(torch.stack([shape + size * direction for size in _SIZES]))
    found = shape
    for trial, value in reversed(list(zip(trials.unbind(0), objective(trials).unbind(0), strict=True))):
        found = torch.where((value >= here).unsqueeze(-1), trial, found)
    return found


def _derivatives(shape: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(R, K) the objective, (R, K, P) its slopes, and (R, K, 3) its second derivatives xx, yy, xy, of one parameter
    (R, K, 1)."""
    axes = [_STEP * (torch.arange(shape.shape[-1], device=shape.device) == i) for i in range(shape.shape[-1])]
    corners = [axes[0] + axes[1], -axes[0] - axes[1]] if len(axes) == 2 else []
    moves = [sign * axis for axis in axes for sign in (1.0, -1.0)] + corners
    here, *around = objective(torch.stack([shape, *(shape + move for move in moves)])).unbind(0)
    pairs = list(zip(around[::2], around[1::2], strict=True))
    slopes = torch.stack([(up - down) / (2.0 * _STEP) for up, down in pairs[: len(axes)]], -1)
    second = [(up - 2.0 * here + down) / _STEP**2 for up, down in pairs]
    if corners:
        second[2] = 0.5 * (second[2] - second[0] - second[1])
    return here, slopes, torch.stack(second, -1)


def _uphill(gradient: Tensor, curvature: Tensor) -> Tensor:
    """The gradient over the absolute curvature: of a matrix H of two rows that is (H² + |det H|) / (|a| + |b|), where a
    and b are its eigenvalues."""
    if gradient.shape[-1] == 1:
        return gradient / curvature.abs().clamp(min=_FLATTEST)
    xx, yy, xy = curvature.unbind(-1)
    determinant = (xx * yy - xy * xy).abs()
    total = (xx.square() + yy.square() + 2.0 * xy.square() + 2.0 * determinant).sqrt().clamp(min=_FLATTEST)
    xx, yy, xy = (
        (xx.square() + xy.square() + determinant) / total + _FLATTEST,
        (yy.square() + xy.square() + determinant) / total + _FLATTEST,
        xy * (xx + yy) / total,
    )
    determinant = (xx * yy - xy * xy).clamp(min=_FLATTEST**2)
    x, y = gradient.unbind(-1)
    return torch.stack([(yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant], -1)
