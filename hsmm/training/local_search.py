"""Local search: states of the best are split and merged for as long as that leads higher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.training.em import Fit
from hsmm.training.joins import Join
from hsmm.training.moves import Move, Neighbourhood, Way
from hsmm.training.objective import Objective
from hsmm.training.race import SAME, Race
from hsmm.training.standing import prospect_of, sober_objective
from hsmm.training.together import Climb, Fitting
from hsmm.training.trainers import Leg, Trainer

_TRIAL, _DEAR_TRIAL = (10, 15, 25), (4, 8, 15, 25)  # iterations; of the first where a step is dear, none leaps
_FEWEST, _MOST = 8, 30  # models tried at once
_FEWER = 3  # one in so many goes on
_WORTH = 1.0  # nats for which it is worth to climb on without a move
_MOST_TIMES, _IN_VAIN = 40, 2


@dataclass(frozen=True)
class Ground:
    """What a local search climbs on: at most ``max_iter`` iterations a climb, by tolerance ``tol``.

    Where a step is cheap, ``at_once`` models climb as far as few. Where it ``is_dear``, those that promise less are
    given up while young, moves that promise more are made together, and what was in vain is not tried again.
    """

    trainer: Trainer
    target: Objective
    max_iter: int
    tol: float
    at_once: int

    @property
    def is_dear(self) -> bool:
        return self.at_once < _FEWEST

    @property
    def n_models(self) -> int:
        return min(max(self.at_once, _FEWEST), _MOST)

    @property
    def trial(self) -> tuple[int, ...]:
        """Iterations of each turn in which neighbours climb side by side."""
        return _DEAR_TRIAL if self.is_dear else _TRIAL

    def climb(self, models: Model, n_iter: int, *, leaps: bool) -> Fitting[Fit]:
        leg = Leg(n_iter, self.tol if leaps else 0.0, accelerate=leaps)
        fit = yield Climb("em", self.trainer, leg, models, self.target)
        assert fit is not None
        return fit

    def standing(self, fit: Fit) -> Tensor:
        return sober_objective(fit.model, fit.objective, self.target)

    def promise(self, fit: Fit, *, leapt: bool) -> Tensor:
        """(R,) where climbs seem to lead; of many, those that seem to lead least far are not looked at soberly."""
        prospect = prospect_of(fit.history, leapt=leapt)
        order = (fit.objective + prospect).nan_to_num(-math.inf).argsort(descending=True)
        seen = order[: 2 * self.n_ahead(len(order))]
        sober = torch.full_like(prospect, -math.inf)
        sober[seen] = sober_objective(fit.model.take(seen), fit.objective[seen], self.target)
        return (prospect + sober).nan_to_num(-math.inf)

    def n_ahead(self, n_models: int) -> int:
        """How many of so many go on."""
        return max(-(-n_models // _FEWER), self.at_once)


def local_search(race: Race, ground: Ground, seed: int) -> Fitting[None]:
    """Move states of the best of a race for as long as that leads higher, or iterations are left."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    in_vain: set[Move | Join] = set()
    n_vain = 0
    n_in_vain = _IN_VAIN if ground.is_dear and not race.is_agreed else 1
    near: Neighbourhood | None = None
    for _ in range(_MOST_TIMES):
        best, stood = race.best, race.best.standing
        if not math.isfinite(stood) or ground.max_iter <= sum(ground.trial):
            return
        if is_new := near is None:
            near = Neighbourhood(best.model(), ground.target, generator)
        moves = near.most_promising(ground.n_models - 1, in_vain)
        if not moves:
            return
        ways: list[Way] = [(move,) for move in moves]
        ways = [(), *ways] if is_new else ways
        made, fit = yield from _furthest(near, ways, stood + SAME, ground)
        gain = ground.tol * ground.target.n_observations
        is_higher = fit is not None and race.replace_best(fit, ground.target, gain)
        near = None if is_higher else near
        if ground.is_dear:
            changed = {state for move in made for state in move.states} if is_higher else set()
            in_vain = {move for move in in_vain.union(moves) if not move.states & changed}
            is_higher = is_higher and (bool(made) or best.standing > stood + _WORTH)
        n_vain = 0 if is_higher else n_vain + 1
        if n_vain == n_in_vain:
            return


def _furthest(near: Neighbourhood, ways: list[Way], least: float, ground: Ground) -> Fitting[tuple[Way, Fit | None]]:
    """Of these ways to move, the one that leads highest and promises more than ``least``, and its climb, or None."""
    models = near.after(ways)
    for turn, length in enumerate(ground.trial):
        is_young = ground.is_dear and turn == 0
        fit = yield from ground.climb(models, length, leaps=not is_young)
        promise = ground.promise(fit, leapt=not is_young)
        order = promise.argsort(descending=True)
        ahead = order[(promise[order] - least + SAME).abs() > SAME][: ground.n_ahead(len(promise))]  # not back
        if turn == len(ground.trial) - 1 or (ground.is_dear and not is_young):
            ahead = ahead[promise[ahead] > least]
        if not len(ahead):
            return (), None
        both = _together(ways, promise, max(least, float(promise[0]))) if is_young else ()
        models, ways = fit.model.take(ahead), [ways[place] for place in ahead.tolist()]
        if len(both) > 1:
            models, ways = near.after([both]).joined(models), [both, *ways]
    if not ground.is_dear:
        fit = yield from ground.climb(models, ground.max_iter, leaps=True)
        ahead = torch.arange(len(ways), device=ahead.device)
    highest = ground.standing(fit)[ahead].argmax()
    return ways[int(highest)], fit.take(ahead[highest])


def _together(ways: Sequence[Way], promise: Tensor, least: float) -> Way:
    """The moves that promise more than ``least``, the most promising first, but none of a state that one before has."""
    chosen: Way = ()
    for place in promise.argsort(descending=True).tolist():
        if not promise[place] > least:
            break
        taken = {state for move in chosen for state in move.states}
        chosen += tuple(move for move in ways[place] if not move.states & taken)
    return chosen
