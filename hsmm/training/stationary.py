"""The M-step of a first state whose law follows from the other tables."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.duration import Duration
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.numerics import log_one_minus_exp
from hsmm.potentials import equilibrium_residual

_STEPS = 3
_STEP_SIZES = (1.0, 0.5, 0.2, 0.05, 0.005)
_LONGEST = 2.0  # of a step in a free coordinate

_Objective = Callable[[Model], Tensor]


def with_first_state(
    before: Model, after: Model, counts: Posterior, frozen: Collection[str] = (), n_steps: int = _STEPS
) -> Model:
    """``after`` one M-step of each table, moved to where the law of the first state does not lose what they gained.

    First the transitions, then the durations go on from their own maxima, or from before where those are worse in sum,
    by ``n_steps`` scaled gradient steps, none of them downhill.
    """
    model = replace(after, transition=before.transition, duration=before.duration)
    for kind, value in (("transition", _of_moves(counts)), ("duration", _of_durations(counts))):
        if kind in frozen or kind not in model.components():
            continue
        held = {name.partition(".")[2] for name in frozen if name.startswith(f"{kind}.")}
        model = _between(model, kind, after.components()[kind], value)
        model = _climbed(model, kind, value, _weights(kind, counts), held, n_steps)
    return model.settled()


def _of_moves(counts: Posterior) -> _Objective:
    """(R,) expected complete-data objective of the transitions, first states included."""

    def value(model: Model) -> Tensor:
        moves = _weighted(counts.transition, model.transition.log_potentials())
        return _weighted(counts.initial, model.log_initial()) + moves + model.transition.log_prior()

    return value


def _of_durations(counts: Posterior) -> _Objective:
    """(R,) that of the durations, first states included."""

    def value(model: Model) -> Tensor:
        assert model.duration is not None
        first = _weighted(counts.initial, model.log_initial())
        return first + _segments(model.duration, counts) + model.duration.log_prior()

    return value


def _segments(duration: Duration, counts: Posterior) -> Tensor:
    tables = duration.tables()
    value = _weighted(counts.duration, tables.log_duration)
    if tables.log_tail is not None:
        value = value + _weighted(counts.tail_stay, tables.log_tail)
        value = value + _weighted(counts.tail_leave, log_one_minus_exp(tables.log_tail))
    if bool((counts.residual > 0).any()):
        value = value + _weighted(counts.residual, equilibrium_residual(tables.log_duration, tables.log_tail))
    return value


def _weights(kind: str, counts: Posterior) -> Tensor:
    """(R, K) how often each state's row is used, first states included."""
    table = counts.transition if kind == "transition" else counts.duration + counts.residual
    return table.sum(-1) + counts.initial


def _between(model: Model, kind: str, goal: Component, value: _Objective) -> Model:
    """The component as far on the way to ``goal`` as is not worse than where it is."""
    here = model.components()[kind]
    start, end, reached = here.free(), goal.free(), value(model)
    arrived = torch.zeros_like(reached, dtype=torch.bool)
    for size in _STEP_SIZES:
        trial = goal if size == 1.0 else here.with_free({name: _lerp(start[name], end[name], size) for name in start})
        better = (value(_with(model, kind, trial)) >= reached) & ~arrived
        model = _with(model, kind, trial.where(better, model.components()[kind]))
        arrived = arrived | better
        if bool(arrived.all()):
            break
    return model


def _climbed(model: Model, kind: str, value: _Objective, weights: Tensor, held: Collection[str], n_steps: int) -> Model:
    """Up the gradient in free coordinates, divided by about the curvature that counts alone would give."""
    for _ in range(n_steps):
        here = model.components()[kind]
        with torch.enable_grad():
            point = {name: x.detach().requires_grad_(name not in held) for name, x in here.free().items()}
            moving = {name: x for name, x in point.items() if x.requires_grad}
            if not moving:
                return model
            reached = value(_with(model, kind, here.with_free(point)))
            slopes = torch.autograd.grad(reached.sum(), list(moving.values()))
        step = {}
        for (name, x), slope in zip(moving.items(), slopes, strict=True):
            curvature = weights.view(*weights.shape, *[1] * (x.ndim - 2))
            if here.constraints()[name] == "simplex":
                curvature = curvature * here.parameters[name]
            ratio = (slope / curvature.clamp(min=1e-300)).nan_to_num(0.0, 0.0, 0.0)
            step[name] = ratio.clamp(-_LONGEST, _LONGEST)
        before, arrived = value(model), torch.zeros_like(reached, dtype=torch.bool)
        for size in _STEP_SIZES:
            moved = {name: x.detach() + size * step[name] if name in step else x for name, x in point.items()}
            trial = here.with_free(moved)
            better = (value(_with(model, kind, trial)) > before) & ~arrived
            model = _with(model, kind, trial.where(better, model.components()[kind]))
            arrived = arrived | better
            if bool(arrived.all()):
                break
        if not bool(arrived.any()):
            return model
    return model


def _with(model: Model, kind: str, part: Component) -> Model:
    return replace(model, **{kind: part})  # type: ignore[arg-type]


def _lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """What is impossible stays so."""
    return torch.where(start.isneginf(), start, torch.lerp(start, end, share))


def _weighted(counts: Tensor, log_table: Tensor) -> Tensor:
    """(R,) Σ counts · log_table, 0 where nothing was counted."""
    return torch.where(counts > 0, counts * log_table.where(counts > 0, 0.0), 0.0).flatten(1).sum(1)
