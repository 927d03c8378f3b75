"""Many starts, few finishers: successive halving of hopeless restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.errors import ImpossibleDataError
from hsmm.sequences import Sequences
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.first import first_models
from hsmm.training.moves import can_move, neighbours
from hsmm.training.objective import Objective, objective_of
from hsmm.training.standing import margin, sober_objective
from hsmm.training.together import Climb, Fitting
from hsmm.training.trainers import EM, LAST_STEPS, Leg, Trainer

FEWEST = 2
_CHEAP = 1_000_000  # steps of a recursion that take no longer than what surrounds them
_FEWEST_MOVES, _MOST_AT_ONCE = 6, 30
_TRIAL, _FEWER, _MOST_MOVES = (10, 15, 25), 4, 30  # iterations; one in so many goes on; times
_LOOSER = 100.0  # times the tolerance, as long as the best is not known
_SAME = 0.02  # nats between heights that are one
_FEWEST_TO_AGREE = 4
_SLOWEST = 0.8  # ratio of gains that a prospect reckons with


@dataclass(frozen=True)
class Restart:
    """How one restart went; ``stopped`` says why it ended."""

    restart: int
    seed: int
    start: str
    iterations: int
    objective: float
    log_likelihood: float
    collapsed: bool
    stopped: str


@dataclass(frozen=True, eq=False)
class BestFit:
    """The best restart (a model with a restart axis of one), its climb, and how all restarts went.

    ``set_aside``: by how much the objective of another restart is higher, which owes it to a degenerate state; 0 where
    it is not by more than single rows can give. ``curves``: of a climb that was judged by rows held back, the objective
    of the others and what it made of these, at every look.
    """

    model: Model
    log_likelihood: float
    objective: float
    history: Tensor
    n_iter: int
    converged: bool
    collapsed: bool
    fall: float
    set_aside: float
    restarts: list[Restart]
    curves: dict[str, list[float]] | None = None


def fitting_restarts(
    structure: Model,
    data: Sequences | Objective,
    *,
    n_states: int,
    n_init: int,
    max_iter: int,
    tol: float,
    seed: int,
    start: Model | None = None,
    trainer: Trainer = EM(),  # noqa: B008 - immutable
) -> Fitting[BestFit]:
    """Fit ``structure`` from ``n_init`` starts and keep the best, what it owes to degenerate states not counted.

    Of several starts, states of the best are split and merged besides, where that leads higher. A ``start`` stands for
    the first of them, and gives all others what is frozen. Where the trainer has rounds (iterations, share kept), the
    worse restarts stop after each of them; the rest climb on. Should all of these collapse, those that stopped last
    while sound climb on instead; and where the best still owes its height to ties, starts climb on the rows with their
    ties spread, too.
    """
    target = objective_of(data)
    model, kinds = first_models(structure, target, n_states=n_states, n_init=n_init, seed=seed, start=start)
    race = _Race(kinds, seed)

    def climb(model: Model, leg: Leg) -> Fitting[None]:
        race.run((yield Climb("climb", trainer, leg, model, target)), target)

    spent, searches = 0, n_init > 1 and tol > 0 and trainer.moves_states
    loose = tol * _LOOSER if searches else tol
    at_once = _CHEAP // _steps(structure, target, n_states)
    for length, share in (*trainer.rounds, (max_iter, 0.0)):
        last = len(race.alive) <= FEWEST or spent + length >= max_iter
        yield from climb(model, Leg(max_iter - spent if last else length, loose, accelerate=spent > 0, is_last=last))
        if last:
            break
        spent += length
        model = race.halve(max(FEWEST, int(len(race.alive) * share), at_once))
        at_once = 0
    race.end()
    if searches:
        if not race.is_agreed:
            yield from _move_states(race, trainer, target, max_iter, loose, seed)
        if (ahead := race.last(max_iter)) is not None:
            yield from climb(ahead, Leg(max_iter - max(runner.n_iter for runner in race.alive), tol, accelerate=True))
            race.end()
    while (again := race.second_chance()) is not None:
        yield from climb(again, Leg(max_iter - max(runner.n_iter for runner in race.alive), tol, accelerate=True))
        race.end()
    if (
        race.best.owes
        and structure.emission.takes_any_number(target.sequences.n_features)
        and (untied := replace(target, sequences=target.sequences.untied)).sequences is not target.sequences
    ):
        beside = yield from fitting_restarts(
            structure, untied, n_states=n_states, n_init=n_init, max_iter=max_iter, tol=tol, seed=seed, start=start,
            trainer=trainer,
        )  # fmt: skip
        race.consider(beside, target)
    finish = Leg(min(max_iter - race.best.n_iter, LAST_STEPS), tol, accelerate=False)
    if race.best.is_sound and not race.best.is_settled and race.best.reached("converged") and finish.max_iter > 0:
        race.finish((yield Climb("finish", trainer, finish, race.best.model(), target)), target)
    return race.result(margin(target))


def _move_states(
    race: _Race, trainer: Trainer, target: Objective, max_iter: int, tol: float, seed: int
) -> Fitting[None]:
    """Split and merge states of the best for as long as that leads higher, or iterations are left."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    for _ in range(_MOST_MOVES):
        model = race.best.model()
        if not math.isfinite(race.best.standing) or not can_move(model, target) or max_iter <= sum(_TRIAL):
            return
        at_once = _CHEAP // _steps(model, target, model.transition.n_states)
        n_moves = min(max(at_once, _FEWEST_MOVES), _MOST_AT_ONCE)
        near = neighbours(model, target, n_moves, generator)
        if near is None:
            return
        least = race.best.standing + _SAME
        fit = yield from _furthest(near, least, trainer, target, max_iter, tol, at_once)
        if fit is None or not race.replace_best(fit, target, tol * target.n_observations):
            return


def _furthest(
    near: Model, least: float, trainer: Trainer, target: Objective, max_iter: int, tol: float, at_once: int
) -> Fitting[Fit | None]:
    """The climb that ends highest of those from ``near`` which promise more than ``least``; None where none does.

    Young climbs that promise less are given up where it is dear to see whether they rise after all.
    """
    is_dear = at_once < _FEWEST_MOVES
    for length in _TRIAL:
        leg = Leg(length, tol, accelerate=True)
        fit = yield Climb("em", trainer, leg, near, target)
        assert fit is not None
        prospect = (_prospect(fit.history) + sober_objective(fit.model, fit.objective, target)).nan_to_num(-math.inf)
        ahead = prospect.argsort(descending=True)[: max(1, len(prospect) // _FEWER, at_once)]
        if is_dear or length == _TRIAL[-1]:
            ahead = ahead[prospect[ahead] > least]
        if not len(ahead):
            return None
        near = fit.model.take(ahead)
    fit = yield Climb("em", trainer, Leg(max_iter, tol, accelerate=True), near, target)
    assert fit is not None
    return fit.take(sober_objective(fit.model, fit.objective, target).argmax())


def _steps(model: Model, target: Objective, n_states: int) -> int:
    """About how many steps a recursion over all rows takes."""
    longest = 0 if model.duration is None else model.duration.max_duration
    return target.sequences.n_rows * n_states * (n_states + longest)


def _prospect(history: Tensor) -> Tensor:
    """(R,) what climbs with this history (T, R) may still gain, their gains falling as they fell."""
    climbed = history.mT
    last = climbed.isfinite().sum(1) - 1
    thirds = [(last * share // 3).clamp(min=0) for share in (1, 2, 3)]
    one, two, three = (climbed.gather(1, at.unsqueeze(1)).squeeze(1) for at in thirds)
    early, late = two - one, three - two
    ratio = torch.where(early > 0, late / early.clamp(min=1e-300), 0.0).clamp(0.0, _SLOWEST)
    return (late * ratio / (1.0 - ratio)).nan_to_num(0.0, 0.0, 0.0).clamp(min=0.0)


@dataclass(eq=False)
class _Runner:
    """How one restart stands; its model is one of those of the ``fit`` it last took part in."""

    restart: int
    kind: str
    n_iter: int = 0
    fall: float = 0.0
    collapsed: bool = False
    standing: float = -math.inf
    stopped: str = ""
    n_rounds: int = 0
    is_settled: bool = False
    history: list[Tensor] = field(default_factory=list)
    fit: Fit | None = None
    position: int = 0
    prospect: float = 0.0

    def took_part(
        self, fit: Fit, position: int, collapsed: bool, standing: float, prospect: float | None = None
    ) -> None:
        self.fit, self.position, self.collapsed, self.standing = fit, position, collapsed, standing
        if self.reached("converged"):
            self.prospect = 0.0
        else:
            self.prospect = float(_prospect(fit.history[:, [position]])[0]) if prospect is None else prospect
        self.n_rounds += 1
        self.n_iter += fit.told["n_iter"][position]
        self.fall = max(self.fall, fit.told["fall"][position])
        climb = fit.climbs[:, position]
        climb = climb[~climb.isnan()]
        self.history = [*self.history, climb[1:] if self.history else climb]  # a round begins where one ended

    def reached(self, what: str) -> Any:
        assert self.fit is not None
        return self.fit.told[what][self.position]

    def model(self) -> Model:
        assert self.fit is not None
        return self.fit.model.take(torch.tensor([self.position], device=self.fit.objective.device))

    @property
    def owes(self) -> bool:
        """Whether it would stand lower without degenerate states."""
        return self.standing < self.reached("objective")

    @property
    def is_sound(self) -> bool:
        return not self.collapsed and math.isfinite(self.reached("objective"))


class _Race:
    """The runners still ``alive``, and those that have ``ended`` where they wanted to."""

    def __init__(self, kinds: list[str], seed: int) -> None:
        self.seed = seed
        self.runners = [_Runner(restart, kind) for restart, kind in enumerate(kinds)]
        self.alive = self.runners
        self.ended: list[_Runner] = []
        self.highest = -math.inf

    def run(self, fit: Fit | None, target: Objective) -> None:
        assert fit is not None
        collapsed = fit.model.emission.collapsed(target.sequences).tolist()
        standing = sober_objective(fit.model, fit.objective, target).tolist()
        self.highest = max(self.highest, float(fit.objective.nan_to_num(-math.inf).max()))
        prospect = _prospect(fit.history).tolist()
        for position, runner in enumerate(self.alive):
            runner.took_part(fit, position, collapsed[position], standing[position], prospect[position])

    def halve(self, n_kept: int) -> Model:
        """Let all but ``n_kept`` leave, at most; the models that stay.

        They are in turn the most promising and the highest, but of those that come to one height only one, and of the
        last two none that promises less than the other has.
        """
        single: list[_Runner] = []
        for runner in _ranked(self.alive):
            if not any(abs(_promise(runner) - _promise(other)) < _SAME for other in single):
                single.append(runner)
        pairs = zip(_ranked(single, _promise), single, strict=True)
        kept = list(dict.fromkeys(runner for pair in pairs for runner in pair))[:n_kept]
        if len(kept) == FEWEST and kept[0].n_rounds > 1 and _promise(kept[1]) < kept[0].standing:
            del kept[1]
        for runner in self.alive:
            if runner not in kept:
                runner.stopped = "halved"
        return self._restricted(kept)

    @property
    def is_agreed(self) -> bool:
        """Whether half of the restarts that went beyond the first round came to one height: no other need be sought.

        Those that left because another was at that height count as well.
        """
        best = self.best.standing
        same = [runner for runner in self.runners if abs(_promise(runner) - best) < _SAME]
        further = [runner for runner in self.runners if runner.n_rounds > 1 or runner in same]
        near = sum(_promise(runner) > best - _SAME for runner in further)
        return len(further) >= _FEWEST_TO_AGREE and 2 * near >= len(further)

    def end(self) -> None:
        """All that are alive have climbed to their end."""
        for runner in self.alive:
            runner.stopped = "converged" if runner.reached("converged") else "max_iter"
        self.ended = list(dict.fromkeys([*self.ended, *self.alive]))

    def last(self, max_iter: int) -> Model | None:
        """The best alone, alive again, if it has iterations left."""
        best = self.best
        for runner in self.ended:
            if runner is not best:
                runner.stopped = "halved"
        return self._restricted([best]) if best.n_iter < max_iter else None

    def second_chance(self) -> Model | None:
        """Where all that climbed to their end have collapsed: those that left last while sound, alive again."""
        beside = [runner for runner in self.runners if runner not in self.ended]
        resting = [runner for runner in beside if runner.stopped == "halved" and runner.is_sound]
        if not resting or not all(runner.owes for runner in self.ended):
            return None
        latest = max(runner.n_rounds for runner in resting)
        return self._restricted([runner for runner in resting if runner.n_rounds == latest])

    def replace_best(self, fit: Fit, target: Objective, least: float) -> bool:
        """Whether the model of a fit stands higher than the best; then it stands for it from now on."""
        collapsed = bool(fit.model.emission.collapsed(target.sequences)[0])
        standing = float(sober_objective(fit.model, fit.objective, target)[0])
        best = self.best
        if not standing > best.standing + least:
            return False
        best.history, best.n_iter, best.fall = [], 0, 0.0
        best.took_part(fit, 0, collapsed, standing)
        best.stopped = "converged" if best.reached("converged") else "max_iter"
        return True

    def consider(self, other: BestFit, target: Objective) -> None:
        """Let a model that climbed on much the same rows stand where its own restart would, should it be better."""
        runner = self.runners[max(other.restarts, key=lambda row: row.objective).restart]
        fit = expectation_maximisation(other.model, target, max_iter=0, tol=0.0)
        standing = float(sober_objective(fit.model, fit.objective, target)[0])
        if standing > self.best.standing:
            self.ended = [one for one in self.ended if one is not runner]
            fit = replace(fit, converged=torch.full_like(fit.converged, other.converged))
            collapsed = bool(fit.model.emission.collapsed(target.sequences)[0])
            runner.history, runner.n_iter, runner.fall = [], other.n_iter, 0.0
            runner.took_part(fit, 0, collapsed, standing)
            runner.is_settled, runner.stopped = True, "converged" if other.converged else "max_iter"
            self.ended.append(runner)

    @property
    def best(self) -> _Runner:
        return _ranked(self.ended)[0]

    def finish(self, fit: Fit | None, target: Objective) -> None:
        """Let the best go on to where its last steps led, if that is higher, soberly judged as well."""
        if fit is None or not bool(fit.objective[0] > self.best.reached("objective")):
            return
        collapsed = bool(fit.model.emission.collapsed(target.sequences)[0])
        standing = float(sober_objective(fit.model, fit.objective, target)[0])
        if standing >= self.best.standing and collapsed <= self.best.collapsed:
            fit = replace(fit, converged=torch.ones_like(fit.converged))
            self.best.took_part(fit, 0, collapsed, standing)

    def result(self, margin: float) -> BestFit:
        best = self.best
        above = max(self.highest, *(r.reached("objective") for r in self.runners)) - best.reached("objective")
        if best.reached("objective") == -math.inf:
            raise ImpossibleDataError("every start gives the data probability zero; check for values outside the law.")
        return BestFit(
            model=best.model(),
            log_likelihood=best.reached("log_likelihood"),
            objective=best.reached("objective"),
            history=torch.cat(best.history),
            n_iter=best.n_iter,
            converged=best.reached("converged"),
            collapsed=best.collapsed,
            fall=best.fall,
            set_aside=above if above > margin else 0.0,
            restarts=[_row(runner, self.seed) for runner in self.runners],
        )

    def _restricted(self, alive: list[_Runner]) -> Model:
        """Only these runners, who share their last fit, are alive; their models."""
        self.alive = sorted(alive, key=lambda runner: runner.restart)
        fit = self.alive[0].fit
        assert fit is not None
        return fit.model.take(torch.tensor([runner.position for runner in self.alive], device=fit.objective.device))


def _promise(runner: _Runner) -> float:
    return runner.standing + runner.prospect


def _ranked(
    runners: list[_Runner], height: Callable[[_Runner], float] = lambda runner: runner.standing
) -> list[_Runner]:
    return sorted(runners, key=lambda runner: -height(runner) if not math.isnan(height(runner)) else math.inf)


def _row(runner: _Runner, seed: int) -> Restart:
    objective, likelihood = runner.reached("objective"), runner.reached("log_likelihood")
    why = "impossible" if objective == -math.inf else runner.stopped
    return Restart(runner.restart, seed, runner.kind, runner.n_iter, objective, likelihood, runner.collapsed, why)
