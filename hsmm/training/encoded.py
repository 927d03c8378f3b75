"""Fits of models with an encoder: restarts are ranked by how they foretell rows that none has seen."""

from __future__ import annotations

import torch

from hsmm.components.model import Model
from hsmm.errors import ImpossibleDataError
from hsmm.training.first import first_models
from hsmm.training.held_back import Learnt, held_back
from hsmm.training.objective import Objective
from hsmm.training.race import BestFit, Restart
from hsmm.training.together import Fitting
from hsmm.training.trainers import Leg, Trainer, fit_of

_MOST_CELLS = 20_000_000  # of tables by row that are held at once


def fitting_encoded(
    structure: Model,
    objective: Objective,
    *,
    n_states: int,
    n_init: int,
    max_iter: int,
    tol: float,
    seed: int,
    start: Model | None,
    trainer: Trainer,
) -> Fitting[BestFit]:
    """The restart, of ``n_init``, that foretells the rows held back best, as it was where it did."""
    yield from ()  # waits for no climb that others could share
    seen, judge = held_back(objective, trainer.held_back_share)
    model, kinds = first_models(structure, seen, n_states=n_states, n_init=n_init, seed=seed, start=start)
    longest = 1 if model.duration is None else model.duration.max_duration
    size = max(1, _MOST_CELLS // (objective.sequences.n_rows * n_states * (n_states + longest)))
    leg = Leg(max_iter, tol, accelerate=False)
    rows, best, curves = list[Restart](), None, None
    for chunk in torch.arange(n_init, device=objective.sequences.values.device).split(size):
        learnt = trainer.learn(model.take(chunk), seen, judge, leg, seed + int(chunk[0]))
        fit = fit_of(learnt, objective)
        for place, restart in enumerate(chunk.tolist()):
            height, held = float(fit.objective[place]), float(learnt.held_out[place])
            why = "held_out" if bool(learnt.settled[place]) else "max_iter"
            reached = float(fit.log_likelihood[place])
            rows.append(Restart(restart, seed, kinds[restart], int(learnt.n_iter[place]), height, reached, False, why))
            if height > -torch.inf and (best is None or held > best[0]):
                best, curves = (held, fit, place), _curves(learnt, place)
    if best is None:
        raise ImpossibleDataError("every start gives the data probability zero; check for values outside the law.")
    _, fit, place = best
    return BestFit(
        model=fit.model.take(torch.tensor([place], device=fit.objective.device)),
        log_likelihood=float(fit.log_likelihood[place]),
        objective=float(fit.objective[place]),
        history=fit.climbs[:, place],
        n_iter=int(fit.n_iter[place]),
        converged=bool(fit.converged[place]),
        collapsed=bool(fit.model.emission.collapsed(objective.sequences)[place]),
        fall=0.0,
        set_aside=0.0,
        restarts=rows,
        curves=curves,
    )


def _curves(learnt: Learnt, place: int) -> dict[str, list[float]]:
    return {
        "objective": [float("nan"), *learnt.history[:, place].tolist()],
        "held_out": learnt.curve[:, place].tolist(),
    }
