"""Squared extrapolation of EM (SQUAREM, Varadhan & Roland 2008), each restart with its own step."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.numerics import surely_all

_FIRST_LIMIT = 4.0
_GROWTH = 4.0


class Extrapolation:
    """Leaps along the path of two EM steps; the limit of a leap grows while leaps succeed."""

    def __init__(self, n_restarts: int, device: torch.device) -> None:
        self._limit = torch.full((n_restarts,), _FIRST_LIMIT, dtype=torch.float64, device=device)
        self._at_limit = torch.zeros(n_restarts, dtype=torch.bool, device=device)

    def leap(self, start: Model, once: Model, twice: Model) -> Model:
        """The model extrapolated from a start and the models one and two EM steps on; where that leads out of the
        range of numbers, the last of these."""
        zero, one, two = start.free(), once.free(), twice.free()
        step = {name: one[name] - zero[name] for name in zero}
        bend = {name: two[name] - one[name] - step[name] for name in zero}
        sizes = start.sizes()
        size = (_square(step, sizes) / _square(bend, sizes).clamp(min=1e-300)).sqrt()
        size = torch.maximum(torch.minimum(size, self._limit), torch.ones_like(size))
        self._at_limit = size >= self._limit
        moved = {}
        for name, origin in zero.items():
            a = size.view(-1, *[1] * (origin.ndim - 1))
            target = origin + 2.0 * a * step[name] + a**2 * bend[name]
            moved[name] = torch.where(target.isfinite(), target, two[name])
        there = twice.with_free(moved)
        within = there.in_range()
        return there if surely_all(within) else there.where(within, twice)

    def judge(self, accepted: Tensor) -> None:
        """Learn which leaps (R,) did not lower the objective."""
        grown = torch.where(self._at_limit, self._limit * _GROWTH, self._limit)
        self._limit = torch.where(accepted, grown, (self._limit / _GROWTH).clamp(min=_FIRST_LIMIT))

    def take(self, restarts: Tensor) -> None:
        """Keep only these restarts."""
        self._limit, self._at_limit = self._limit[restarts], self._at_limit[restarts]


def _square(coordinates: dict[str, Tensor], sizes: dict[str, Tensor]) -> Tensor:
    """(R,) squared norm over all finite coordinates, each by its size."""
    plain = [x / sizes[name] if name in sizes else x for name, x in coordinates.items()]
    parts = [x.nan_to_num(0.0, 0.0, 0.0).square().flatten(1).sum(1) for x in plain]
    return sum(parts[1:], parts[0])  # one after the other, however many restarts there are
