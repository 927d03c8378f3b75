"""Minimise many small penalised problems side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from hsmm.components.emission.glm.penalties import Penalty
from hsmm.components.emission.glm.problem import Evaluation, Problem

SolverName: TypeAlias = Literal["newton", "lbfgs", "proximal_gradient"]
Smooth: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]

_NEWTON_STEPS = 25
_HALVINGS = 12
_PRECISE = 1e-13
_CLOSE, _ENOUGH, _CRAWL = 1e-9, 1e-3, 1e-3
_GRADIENT_STEPS = 2000
_MODEL_STEPS, _POLISHES, _ROUNDS = 20, 2, 15


def newton(problem: Problem, start: Tensor) -> Tensor:
    """Damped Newton; with a rough penalty, proximal Newton. Never ends above its start, but for rounding.

    The last step is the one that promises next to nothing, or next to nothing of what was gained.
    """
    here, at = start, problem.evaluate(start)
    value = first = at.value + problem.penalty.rough(here)
    length = torch.ones_like(value)
    moving = torch.ones_like(value, dtype=torch.bool)
    least = _CRAWL if problem.has_walls else 0.0
    for _ in range(_NEWTON_STEPS):
        target, promised = _newton_target(problem.penalty, here, at)
        small = torch.maximum(_CLOSE * (1.0 + value.abs()), _ENOUGH * (first - value))
        close = moving & (promised <= small) & (length == 1.0) & (not problem.has_walls)
        here = torch.where(close.unsqueeze(-1), target, here)
        moving = moving & ~close & (promised > 0)
        if not bool(moving.any()):
            break
        there, new, length = _searched(problem, here, target, value, length, moving)
        reached = new.value + problem.penalty.rough(there)
        gain = torch.where(moving, value - reached, -torch.inf)
        kept = gain >= -_PRECISE * (1.0 + value.abs())
        here = torch.where(kept.unsqueeze(-1), there, here)
        at = Evaluation(
            torch.where(kept, new.value, at.value),
            torch.where(kept.unsqueeze(-1), new.slope, at.slope),
            torch.where(kept[..., None, None], new.curvature, at.curvature),
        )
        moving = gain > torch.maximum(_PRECISE * (1.0 + value.abs()), least * (first - value))
        value = torch.where(kept, reached, value)
        length = (2.0 * length).clamp(max=1.0)
    return here


def _searched(
    problem: Problem, here: Tensor, target: Tensor, value: Tensor, length: Tensor, moving: Tensor
) -> tuple[Tensor, Evaluation, Tensor]:
    """As far from ``here`` to ``target`` as does not climb."""
    for _ in range(_HALVINGS):
        there = here + torch.where(moving, length, 0.0).unsqueeze(-1) * (target - here)
        new = problem.evaluate(there)
        reached = new.value + problem.penalty.rough(there)
        worse = ~(reached <= value + _PRECISE * (1.0 + value.abs())) & moving
        if not bool(worse.any()):
            break
        length = torch.where(worse, 0.25 * length, length)
    return there, new, length


def lbfgs(problem: Problem, start: Tensor) -> Tensor:
    """SciPy's L-BFGS, one problem after the other; for penalties with a gradient everywhere."""
    from scipy.optimize import minimize

    found = start.clone()
    for index in np.ndindex(*start.shape[:3]):
        alone = problem.take(*index)

        def objective(x: np.ndarray, alone: Problem = alone) -> tuple[float, np.ndarray]:
            value, slope = alone.value_and_slope(torch.from_numpy(x.copy())[None, None, None])
            return float(value.sum()), slope.flatten().numpy()

        began = start[index].numpy()
        options = {"maxiter": 1000, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-9}
        result = minimize(objective, began, jac=True, method="L-BFGS-B", options=options)
        if result.fun <= objective(began)[0]:
            found[index] = torch.from_numpy(result.x)
    return found


def proximal_gradient(problem: Problem, start: Tensor) -> Tensor:
    """FISTA with backtracking and restarts, each coordinate in its own unit."""
    bend = problem.evaluate(start).curvature
    metric = problem.penalty.even(_metric(bend))
    steepness = _steepness(bend, metric)
    return _accelerated(
        problem.value_and_slope, problem.penalty, start, metric, steepness, _GRADIENT_STEPS, backtrack=True
    )


SOLVERS: dict[SolverName, Callable[[Problem, Tensor], Tensor]] = {
    "newton": newton,
    "lbfgs": lbfgs,
    "proximal_gradient": proximal_gradient,
}


def _newton_target(penalty: Penalty, here: Tensor, at: Evaluation) -> tuple[Tensor, Tensor]:
    """Where the quadratic model is least, and the gain it promises there."""
    bend = _stiffened(at.curvature)
    if penalty.is_smooth:
        factor, _ = torch.linalg.cholesky_ex(bend)
        step = -torch.cholesky_solve(at.slope.unsqueeze(-1), factor).squeeze(-1)
        return here + step, -0.5 * (at.slope * step).sum(-1)

    target, value = _model_minimum(penalty, here, at.slope, bend)
    return target, penalty.rough(here) - value


def _model_minimum(penalty: Penalty, here: Tensor, slope: Tensor, bend: Tensor) -> tuple[Tensor, Tensor]:
    """Where the quadratic model and a rough penalty are least together, and how low that is.

    Proximal steps find which coordinates are 0, Newton steps where the others lie.
    """

    def model(x: Tensor) -> tuple[Tensor, Tensor]:
        move = x - here
        pull = (bend @ move.unsqueeze(-1)).squeeze(-1)
        return (move * (slope + 0.5 * pull)).sum(-1), slope + pull

    metric = penalty.even(_metric(bend))
    steepness = _steepness(bend, metric)
    best, value = here, penalty.rough(here)
    for _ in range(_ROUNDS):
        found = _accelerated(model, penalty, best, metric, steepness, _MODEL_STEPS, backtrack=False)
        for _ in range(_POLISHES):
            found = _polished(penalty, model, found, bend)
        reached = model(found)[0] + penalty.rough(found)
        gain = value - reached
        best, value = torch.where((gain > 0).unsqueeze(-1), found, best), torch.minimum(value, reached)
        if bool((gain <= 1e-9 * (penalty.rough(here) - value) + 1e-15 * (1.0 + value.abs())).all()):
            break
    return best, value


def _polished(penalty: Penalty, model: Smooth, here: Tensor, bend: Tensor) -> Tensor:
    """A Newton step among the coordinates that are not 0: the whole of it or as far as one of them becomes 0, whichever
    lowers model and penalty most (Lee, Battle, Raina & Ng 2007)."""
    free = (here != 0) | ((penalty.absolute == 0) & (penalty.group < 0))
    rough, stiff = penalty.rough_derivatives(here)
    level, slope = model(here)
    both = free.unsqueeze(-1) & free.unsqueeze(-2)
    matrix = torch.where(both, bend + stiff, torch.diag_embed(torch.ones_like(here)))
    factor, _ = torch.linalg.cholesky_ex(_stiffened(matrix))
    pull = torch.where(free, slope + rough, 0.0).unsqueeze(-1)
    step = -torch.cholesky_solve(pull, factor).squeeze(-1)
    share = torch.where((penalty.absolute > 0) & (step != 0), -here / step, 1.0)
    share = torch.where((share > 0) & (share < 1), share, 1.0)
    along = share.movedim(-1, 0).unsqueeze(-1)  # (Q, ..., 1), beside the coordinates of each
    there = torch.where(along == share, torch.where(share < 1, 0.0, here + step), here + along * step)
    there = torch.cat([there, torch.where(share < 1, 0.0, here + step).unsqueeze(0)])
    reached = model(there)[0] + penalty.rough(there)
    least, which = reached.min(0)
    best = there.gather(0, which[None, ..., None].expand(1, *here.shape)).squeeze(0)
    return torch.where((least <= level + penalty.rough(here)).unsqueeze(-1), best, here)


def _stiffened(bend: Tensor) -> Tensor:
    """A curvature that can be factorised, raised where it is flat."""
    diagonal = _metric(bend)
    for share in (1e-12, 1e-9, 1e-6, 1e-3):
        raised = bend + torch.diag_embed(share * diagonal)
        _, fault = torch.linalg.cholesky_ex(raised)
        if not bool(fault.any()):
            return raised
        bend = torch.where((fault > 0)[..., None, None], raised, bend)
    return torch.diag_embed(diagonal)


def _metric(bend: Tensor) -> Tensor:
    diagonal = bend.diagonal(dim1=-2, dim2=-1)
    largest = diagonal.amax(-1, keepdim=True).clamp(min=1e-30)
    return torch.maximum(diagonal, 1e-12 * largest)


def _steepness(bend: Tensor, metric: Tensor) -> Tensor:
    """Largest curvature in units of the metric."""
    root = metric.rsqrt()
    return torch.linalg.eigvalsh(bend * root.unsqueeze(-1) * root.unsqueeze(-2))[..., -1].clamp(min=1e-6) * 1.0001


def _accelerated(
    smooth: Smooth,
    penalty: Penalty,
    start: Tensor,
    metric: Tensor,
    steepness: Tensor,
    n_steps: int,
    *,
    backtrack: bool,
) -> Tensor:
    """FISTA (Beck & Teboulle 2009), restarted where it would climb (O'Donoghue & Candès 2015)."""
    here = ahead = start
    value = smooth(start)[0] + penalty.rough(start)
    momentum = torch.ones_like(value)
    for _ in range(n_steps):
        level, slope = smooth(ahead)
        while True:
            weight = metric * steepness.unsqueeze(-1)
            there = penalty.proximal(ahead - slope / weight, 1.0 / weight)
            move = there - ahead
            length = 0.5 * (weight * move**2).sum(-1)
            reached, _ = smooth(there)
            bound = level + (slope * move).sum(-1) + length + 1e-12 * (1.0 + level.abs())
            short = ~(reached <= bound)
            if not backtrack or not bool(short.any()) or bool((steepness > 1e30).any()):
                break
            steepness = torch.where(short, 2.0 * steepness, steepness)
        total = reached + penalty.rough(there)
        better = total <= value
        done = length <= 1e-15 * (1.0 + value.abs())
        after = torch.where(better, 0.5 * (1.0 + (1.0 + 4.0 * momentum**2).sqrt()), 1.0)
        pull = torch.where(better, (momentum - 1.0) / after, 0.0).unsqueeze(-1)
        new = torch.where(better.unsqueeze(-1), there, here)
        ahead = new + pull * (new - here)
        here, value, momentum = new, torch.where(better, total, value), after
        if bool(done.all()):
            break
    return here
