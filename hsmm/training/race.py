"""How restarts stand while they climb, and which of them go on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.errors import ImpossibleDataError
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.objective import Objective
from hsmm.training.standing import prospect_of, sober_objective

FEWEST = 2
SAME = 0.02
"""Nats between heights that are one."""
_FEWEST_TO_AGREE = 4


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


@dataclass(eq=False)
class Runner:
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
        if prospect is None:
            prospect = float(prospect_of(fit.history[:, [position]], leapt=True)[0])
        self.prospect = 0.0 if self.reached("converged") else prospect
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
    def promise(self) -> float:
        """Where its climb seems to lead."""
        return self.standing + self.prospect

    def is_beside(self, other: Runner) -> bool:
        """Whether they are on one climb: they stand where the other does, and lead there."""
        return abs(self.standing - other.standing) < SAME and abs(self.promise - other.promise) < SAME

    @property
    def owes(self) -> bool:
        """Whether it would stand lower without degenerate states."""
        return self.standing < self.reached("objective")

    @property
    def is_sound(self) -> bool:
        return not self.collapsed and math.isfinite(self.reached("objective"))


class Race:
    """The runners still ``alive``, and those that have ``ended`` where they wanted to."""

    def __init__(self, kinds: list[str], seed: int) -> None:
        self.seed = seed
        self.runners = [Runner(restart, kind) for restart, kind in enumerate(kinds)]
        self.alive = self.runners
        self.ended: list[Runner] = []
        self.highest = -math.inf

    def run(self, fit: Fit | None, target: Objective) -> None:
        assert fit is not None
        collapsed = fit.model.emission.collapsed(target.sequences).tolist()
        standing = sober_objective(fit.model, fit.objective, target).tolist()
        self.highest = max(self.highest, float(fit.objective.nan_to_num(-math.inf).max()))
        prospect = prospect_of(fit.history, leapt=self.alive[0].n_rounds > 0).tolist()
        for position, runner in enumerate(self.alive):
            runner.took_part(fit, position, collapsed[position], standing[position], prospect[position])

    def halve(self, n_kept: int) -> Model:
        """Let all but ``n_kept`` leave, at most; the models that stay.

        They are the most promising, but of those that are on one climb only one, and of the last two none that promises
        less than the other has.
        """
        kept: list[Runner] = []
        for runner in _ranked(self.alive, lambda runner: runner.promise):
            if len(kept) < n_kept and not any(runner.is_beside(other) for other in kept):
                kept.append(runner)
        if len(kept) == FEWEST and kept[0].n_rounds > 1 and kept[1].promise < kept[0].standing:
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
        best = self.best.promise
        same = [runner for runner in self.runners if abs(runner.promise - best) < SAME]
        further = [runner for runner in self.runners if runner.n_rounds > 1 or runner in same]
        return len(further) >= _FEWEST_TO_AGREE and 2 * len(same) >= len(further)

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
    def best(self) -> Runner:
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

    def _restricted(self, alive: list[Runner]) -> Model:
        """Only these runners, who share their last fit, are alive; their models."""
        self.alive = sorted(alive, key=lambda runner: runner.restart)
        fit = self.alive[0].fit
        assert fit is not None
        return fit.model.take(torch.tensor([runner.position for runner in self.alive], device=fit.objective.device))


def _ranked(runners: list[Runner], height: Callable[[Runner], float] = lambda runner: runner.standing) -> list[Runner]:
    return sorted(runners, key=lambda runner: -height(runner) if not math.isnan(height(runner)) else math.inf)


def _row(runner: Runner, seed: int) -> Restart:
    objective, likelihood = runner.reached("objective"), runner.reached("log_likelihood")
    why = "impossible" if objective == -math.inf else runner.stopped
    return Restart(runner.restart, seed, runner.kind, runner.n_iter, objective, likelihood, runner.collapsed, why)
