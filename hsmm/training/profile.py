"""Profile likelihood: how far one parameter can move before the objective, all others following, has fallen too low."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.components.quasi_newton import Ascent
from hsmm.training.coordinates import Coordinates, confined
from hsmm.training.gradient import slope
from hsmm.training.information import Curvature, natural
from hsmm.training.objective import Objective

_ROUNDS, _CLIMBS = 14, 30
_DIFFERENCE = 1e-4  # in standard errors
_EXACT = 0.01  # of the fall's root that is sought
_TIGHT = 0.99
_LEVEL = 0.1  # a slope that promises less than half its square in nats
_INWARD = (-4.0, -2.0, 2.0, 4.0)  # where a parameter at its bound may go: logarithms, or what is as wide
_FARTHEST = 32.0  # standard errors, by the reach that is sought
_CELLS = 1_000_000


@dataclass(frozen=True, eq=False)
class Profile:
    """``low`` and ``high`` by the name of the parameter, in its shape without the restart axis; NaN where the curvature
    knows no standard error, or where no end was found."""

    low: dict[str, Tensor]
    high: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class _Moves:
    """Moves (M, U) away from the top: along ``basis`` (P, U), of which the first are independent standard deviations,
    the others what the data determine from one side only, or not."""

    coordinates: Coordinates
    objective: Objective
    origin: Tensor
    basis: Tensor

    def heights(self, moves: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) values of the objective and (M, U) their slopes."""

        def height(own: Coordinates, vectors: Tensor) -> Tensor:
            here = slope(own, self.objective, vectors)
            return torch.cat([here.value[:, None], here.gradient @ self.basis], 1)

        found = self._at(moves, height)
        return found[:, 0], found[:, 1:]

    def numbers(self, moves: Tensor) -> Tensor:
        """(M, Q) the learnt parameters as they are there."""

        def number(own: Coordinates, vectors: Tensor) -> Tensor:
            with torch.no_grad():
                return natural(confined(own.model(vectors), self.objective), self.coordinates)

        return self._at(moves, number)

    def _at(self, moves: Tensor, function: Callable[[Coordinates, Tensor], Tensor]) -> Tensor:
        one = torch.zeros(1, dtype=torch.int64)
        pieces = moves.split(max(1, _CELLS // self.objective.sequences.n_rows))
        return torch.cat(
            [
                function(self.coordinates.take(one.expand(len(piece))), self.origin + piece @ self.basis.mT)
                for piece in pieces
            ]
        )


def profile(model: Model, objective: Objective, found: Curvature, reach: dict[str, Tensor]) -> Profile:
    """Ends at which the profiled objective has fallen by reach² / 2, both sides of every parameter at once.

    ``reach`` is how many standard errors each end would lie away, were the objective a parabola; in the parameters'
    shapes. The root of the fall is nearly straight in how far a parameter has moved, which finds the ends; at each
    distance all other directions climb (Venzon & Moolgavkar 1988), those of parameters at their bounds too.
    """
    coordinates = Coordinates(model, objective.frozen)
    loose = found.loose / found.loose.norm(dim=0).clamp(min=1e-300)
    space = _Moves(coordinates, objective, coordinates.of(model), torch.cat([found.spread, loose], 1))
    error, wanted = (torch.cat([part.flatten() for part in table.values()]) for table in (found.std_error, reach))
    sought = (error > 0).nonzero().flatten()
    if not len(sought):
        return _shaped(found, error, sought, error.new_zeros(0, 2))
    toward, wanted = _directions(space, found.spread.shape[1], sought), wanted[sought].repeat(2)
    moves, arrived = _ends(space, toward, wanted, n_free=found.spread.shape[1])
    reached = space.numbers(moves)[torch.arange(len(moves)), sought.repeat(2)]
    ends = torch.where(arrived, reached, torch.nan).view(2, -1)
    here = space.numbers(torch.zeros_like(moves[:1]))[0, sought]
    low = torch.where(ends[0] < here, ends[0], torch.nan)
    high = torch.where(ends[1] > here, ends[1], torch.nan)
    return _shaped(found, error, sought, torch.stack([low, high], 1))


def _directions(space: _Moves, n_free: int, sought: Tensor) -> Tensor:
    """(2 Q, U) unit moves along which each parameter sought falls, and rises, with the least fall of the objective."""
    steps = _DIFFERENCE * torch.eye(space.basis.shape[1], dtype=space.origin.dtype)[:n_free]
    rise = ((space.numbers(steps) - space.numbers(-steps)) / (2.0 * _DIFFERENCE)).mT[sought]
    toward = torch.nn.functional.pad(rise, (0, space.basis.shape[1] - n_free))
    toward = toward / toward.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return torch.cat([-toward, toward])


def _ends(space: _Moves, toward: Tensor, wanted: Tensor, *, n_free: int) -> tuple[Tensor, Tensor]:
    """Moves (M, U) ``toward`` which the root of the fall is ``wanted`` (M,), and where they were found (M,)."""
    top = space.heights(torch.zeros_like(toward[:1]))[0]
    far, ends, arrived = 0.5 * wanted, torch.zeros_like(toward), torch.zeros_like(wanted, dtype=torch.bool)
    below, above = torch.zeros(2, *wanted.shape).to(wanted), torch.full((2, *wanted.shape), torch.inf).to(wanted)
    aside = torch.zeros_like(toward)
    going = torch.arange(len(wanted))
    for _ in range(_ROUNDS):
        own, goal = toward[going], wanted[going]
        moved = _inward(space, far[going, None] * own + aside[going], n_free)
        moved, value = _climbed(space, moved, own)
        root = (2.0 * (top - value)).clamp(min=0.0).sqrt()
        close = (root - goal).abs() < _EXACT * goal
        ends[going], arrived[going] = moved, close
        aside[going] = moved - far[going, None] * own
        short = root < goal
        here = torch.stack([far[going], root])
        below[:, going] = torch.where(short, here, below[:, going])
        above[:, going] = torch.where(short, above[:, going], here)
        above[:, below[0] > _TIGHT * above[0]] = torch.inf  # which a better climb has disproved
        further = _further(below[:, going], above[:, going], goal)
        aside[going] *= (further / far[going])[:, None]
        far[going] = further
        going = going[~close & (further < _FARTHEST * goal)]
        if not len(going):
            break
    return ends, arrived


def _further(below: Tensor, above: Tensor, goal: Tensor) -> Tensor:
    """How far to look next, between the farthest that was too near and the nearest that was too far: (distance, root
    of the fall) each."""
    near, far = below[0], above[0]
    share = ((goal - below[1]) / (above[1] - below[1])).nan_to_num(0.5).clamp(0.1, 0.9)
    share = torch.where(above[1].isinf(), 0.5, share)
    ahead = near * (goal / below[1].clamp(min=1e-300)).clamp(max=2.0)
    return torch.where(far.isinf(), ahead, near + share * (far - near))


def _climbed(space: _Moves, moves: Tensor, toward: Tensor) -> tuple[Tensor, Tensor]:
    """The moves after all directions but ``toward`` have climbed, and the objective there."""

    def at(trial: Tensor, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, gradient = space.heights(trial)
        across = gradient - (gradient * toward[some]).sum(1, keepdim=True) * toward[some]
        level = across.square().sum(1, keepdim=True) < _LEVEL**2
        return trial, value, across.masked_fill(level, 0.0)

    here, ascent = at(moves, torch.arange(len(moves))), Ascent()
    for _ in range(_CLIMBS):
        if not bool(here[2].any()):
            break
        here = ascent.step(at, *here)
    return here[0], here[1]


def _inward(space: _Moves, moves: Tensor, n_free: int) -> Tensor:
    """The moves (M, U), with each of the parameters at a bound where it had best be inward of it."""
    if n_free == moves.shape[1]:
        return moves
    best = space.heights(moves)[0]
    for place in range(n_free, moves.shape[1]):
        for step in _INWARD:
            trial = moves.clone()
            trial[:, place] += step
            value = space.heights(trial)[0]
            better = value > best
            moves, best = torch.where(better[:, None], trial, moves), torch.where(better, value, best)
    return moves


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
