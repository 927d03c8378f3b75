"""Many starts, few finishers: successive halving of hopeless restarts."""

from __future__ import annotations

from dataclasses import replace

from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.first import first_models
from hsmm.training.local_search import Ground, local_search
from hsmm.training.moves import can_move
from hsmm.training.objective import Objective, objective_of
from hsmm.training.race import FEWEST, BestFit, Race
from hsmm.training.standing import margin
from hsmm.training.together import Climb, Fitting
from hsmm.training.trainers import EM, LAST_STEPS, Leg, Trainer

_CHEAP = 1_000_000  # steps of a recursion that take no longer than what surrounds them
_BEFORE_MOVES = 30  # iterations of the last round where they are dear: states may move before the top is reached
_LOOSER = 100.0  # times the tolerance, as long as the best is not known


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
    race = Race(kinds, seed)

    def climb(model: Model, leg: Leg) -> Fitting[None]:
        race.run((yield Climb("last" if leg.limits else "climb", trainer, leg, model, target)), target)

    spent, searches = 0, n_init > 1 and tol > 0 and trainer.moves_states
    loose = tol * _LOOSER if searches else tol
    ground = Ground(trainer, target, max_iter, loose, at_once=_CHEAP // _steps(structure, target, n_states))
    moves = searches and can_move(model, target)
    longest = _BEFORE_MOVES if moves and ground.is_dear else max_iter
    for length, share in (*trainer.rounds, (max_iter, 0.0)):
        last = len(race.alive) <= FEWEST or spent + length >= max_iter
        n_iter = min(max_iter - spent, longest) if last else length
        yield from climb(model, Leg(n_iter, loose, accelerate=spent > 0, is_last=last))
        if last:
            break
        model = race.halve(max(FEWEST, int(len(race.alive) * share), 0 if spent else ground.at_once))
        spent += length
    race.end()
    if searches:
        if moves and (ground.is_dear or not race.is_agreed):
            yield from local_search(race, ground, seed)
        if (ahead := race.last(max_iter)) is not None:
            yield from climb(ahead, Leg.rest(max_iter - max(runner.n_iter for runner in race.alive), tol))
            race.end()
    while (again := race.second_chance()) is not None:
        yield from climb(again, Leg.rest(max_iter - max(runner.n_iter for runner in race.alive), tol))
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


def _steps(model: Model, target: Objective, n_states: int) -> int:
    """About how many steps a recursion over all rows takes."""
    longest = 0 if model.duration is None else model.duration.max_duration
    return target.sequences.n_rows * n_states * (n_states + longest)
