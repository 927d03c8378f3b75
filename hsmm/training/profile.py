"""Profile likelihood: how far one parameter can move before the objective, all others following, has fallen too low."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.training.coordinates import Coordinates, confined
from hsmm.training.gradient import slope
from hsmm.training.information import Curvature, natural
from hsmm.training.objective import Objective

_STEPS = 8
_DIFFERENCE = 1e-4  # in standard errors
_EXACT = 0.02  # of the fall that is sought
_CELLS = 1_000_000


@dataclass(frozen=True, eq=False)
class Profile:
    """``low`` and ``high`` by the name of the parameter, in its shape without the restart axis; NaN where the curvature
    knows no standard error, or where no end was found."""

    low: dict[str, Tensor]
    high: dict[str, Tensor]


def profile(model: Model, objective: Objective, found: Curvature, z: float) -> Profile:
    """Ends at which the profiled objective has fallen by z² / 2, both sides of every parameter at once.

    From the ends that the curvature promises all other directions climb by Newton steps with the curvature of the top,
    and the distance is corrected by the fall that is found there (Venzon & Moolgavkar 1988, simplified).
    """
    coordinates = Coordinates(model, objective.frozen)
    origin = coordinates.of(model)
    error = torch.cat([part.flatten() for part in found.std_error.values()])
    sought = (error > 0).nonzero().flatten()

    def at(moves: Tensor, function: Callable[[Coordinates, Tensor], Tensor]) -> Tensor:
        """Values at moves (M, U) in independent standard deviations."""
        pieces = moves.split(max(1, _CELLS // objective.sequences.n_rows))
        one = torch.zeros(1, dtype=torch.int64)
        return torch.cat(
            [function(coordinates.take(one.expand(len(piece))), origin + piece @ found.spread.mT) for piece in pieces]
        )

    def numbers(own: Coordinates, vectors: Tensor) -> Tensor:
        with torch.no_grad():
            return natural(confined(own.model(vectors), objective), coordinates)

    def height(own: Coordinates, vectors: Tensor) -> Tensor:
        here = slope(own, objective, vectors)
        return torch.cat([here.value[:, None], here.gradient @ found.spread], 1)

    if not len(sought):
        return _shaped(found, error, sought, error.new_zeros(0, 2))
    steps = _DIFFERENCE * torch.eye(found.spread.shape[1], dtype=origin.dtype)
    reach = ((at(steps, numbers) - at(-steps, numbers)) / (2.0 * _DIFFERENCE)).mT[sought]
    toward = reach / reach.norm(dim=1, keepdim=True).clamp(min=1e-300)
    toward = torch.cat([-toward, toward])
    top = at(torch.zeros_like(steps[:1]), height)[0, 0]
    moves, best = z * toward, torch.full((len(toward),), torch.inf, dtype=origin.dtype)
    ends = moves.clone()
    for _ in range(_STEPS):
        value, climb = at(moves, height).split([1, moves.shape[1]], 1)
        fall = (top - value[:, 0]) / (0.5 * z**2)
        aside = climb - (climb * toward).sum(1, keepdim=True) * toward
        off = torch.where(fall.isfinite(), (fall - 1.0).abs() + aside.square().sum(1) / z**2, torch.inf)
        ends, best = torch.where((off < best).unsqueeze(1), moves, ends), torch.minimum(off, best)
        if bool((best < _EXACT).all()):
            break
        size = fall.clamp(min=0.25, max=4.0).rsqrt().nan_to_num(0.5).unsqueeze(1)
        along = (moves * toward).sum(1, keepdim=True) * toward
        moves = torch.where(fall.isfinite().unsqueeze(1), size * along + (moves - along) + aside, 0.5 * moves)
    reached = at(ends, numbers)[torch.arange(len(ends)), sought.repeat(2)].view(2, -1).mT
    usable = (best < 5.0 * _EXACT).view(2, -1).all(0)
    return _shaped(found, error, sought[usable], reached[usable].sort(1).values)


def _shaped(found: Curvature, error: Tensor, sought: Tensor, ends: Tensor) -> Profile:
    tables = [torch.full_like(error, torch.nan).index_copy(0, sought, ends[:, side]) for side in (0, 1)]
    sizes = [part.numel() for part in found.std_error.values()]
    low, high = (
        {
            name: piece.view(found.std_error[name].shape)
            for name, piece in zip(found.std_error, table.split(sizes), strict=True)
        }
        for table in tables
    )
    return Profile(low, high)
