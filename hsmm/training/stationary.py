"""The M-step of a first state whose law follows from the other tables."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hsmm.components.ascent import longest_step
from hsmm.components.base import Component
from hsmm.components.duration import Duration
from hsmm.components.model import Model
from hsmm.components.stationary import share_of_time, stationary_law
from hsmm.components.transition import Transition
from hsmm.inference import Posterior
from hsmm.numerics import log_one_minus_exp, surely_none
from hsmm.potentials import equilibrium_residual

_STEPS = 1
_SHARES = (1.0, 0.5, 0.2, 0.05, 0.005)  # of the way to where each table would go alone
_STEP_SIZES = (1.0, 0.2)
_LONGEST = 2.0  # of a step in a free coordinate

_Objective = Callable[[Any], Tensor]


def with_first_state(
    before: Model, after: Model, counts: Posterior, frozen: Collection[str] = (), n_steps: int = _STEPS
) -> Model:
    """``after`` one M-step of each table, moved to where the law of the first state does not lose what they gained.

    First the transitions, then the durations go on from their own maxima, or from before where those are worse in sum,
    by ``n_steps`` scaled gradient steps, none of them downhill.
    """
    model = replace(after, transition=before.transition, duration=before.duration)
    for kind, objective in (("transition", _of_moves), ("duration", _of_durations)):
        if kind in frozen or kind not in model.components():
            continue
        value = objective(model, counts)
        held = {name.partition(".")[2] for name in frozen if name.startswith(f"{kind}.")}
        part = _between(model.components()[kind], after.components()[kind], value)
        part = _climbed(part, value, _weights(kind, counts), held, n_steps)
        model = replace(model, **{kind: part})  # type: ignore[arg-type]
    return model.settled()


def _of_moves(model: Model, counts: Posterior) -> _Objective:
    """(R,) expected complete-data objective of transitions, first states included, beside the model's durations."""
    mean = None if model.duration is None else model.duration.mean()

    def value(transition: Transition) -> Tensor:
        table = transition.typical()
        law = stationary_law(table)
        first = law if mean is None else share_of_time(law, mean, table)
        moves = _weighted(counts.transition, transition.log_potentials())
        return _weighted(counts.initial, first.log()) + moves + transition.log_prior()

    return value


def _of_durations(model: Model, counts: Posterior) -> _Objective:
    """(R,) that of durations, beside the model's transitions."""
    table = model.transition.typical()
    segments = stationary_law(table)
    censored = model.left_censored and not surely_none(counts.residual > 0)

    def value(duration: Duration) -> Tensor:
        tables = duration.log_potentials()
        total = _weighted(counts.initial, share_of_time(segments, tables.mean(), table).log()) + duration.log_prior()
        total = total + _weighted(counts.duration, tables.log_duration)
        if tables.log_tail is not None:
            total = total + _weighted(counts.tail_stay, tables.log_tail)
            total = total + _weighted(counts.tail_leave, log_one_minus_exp(tables.log_tail))
        if censored:
            total = total + _weighted(counts.residual, equilibrium_residual(tables.log_duration, tables.log_tail))
        return total

    return value


def _weights(kind: str, counts: Posterior) -> Tensor:
    """(R, K) how often each state's row is used, first states included."""
    table = counts.transition if kind == "transition" else counts.duration + counts.residual
    return table.sum(-1) + counts.initial


def _between(here: Component, goal: Component, value: _Objective) -> Component:
    """The component as far on the way to ``goal`` as is not worse than where it is."""
    start, end = here.free(), goal.free()

    def trial(size: float) -> Component:
        return goal if size == 1.0 else here.with_free({name: _lerp(start[name], end[name], size) for name in start})

    return longest_step(here, value(here), trial, value, _SHARES, _choose, rounding=0.0)[0]


def _climbed(here: Component, value: _Objective, weights: Tensor, held: Collection[str], n_steps: int) -> Component:
    """Up the gradient in free coordinates, divided by about the curvature that counts alone would give."""
    for _ in range(n_steps):
        with torch.enable_grad():
            point = {name: x.detach().requires_grad_(name not in held) for name, x in here.free().items()}
            moving = {name: x for name, x in point.items() if x.requires_grad}
            if not moving:
                return here
            height = value(here.with_free(point))
            slopes = torch.autograd.grad(height.sum(), list(moving.values()))
        step = {}
        for (name, x), slope in zip(moving.items(), slopes, strict=True):
            of_states = weights if here.state_axes[name][0] == 1 else weights.sum(1, keepdim=True)
            curvature = of_states.view(*of_states.shape, *[1] * (x.ndim - 2))
            if here.constraints()[name] == "simplex":
                curvature = curvature * here.parameters[name]
            ratio = (slope / curvature.clamp(min=1e-300)).nan_to_num(0.0, 0.0, 0.0)
            step[name] = ratio.clamp(-_LONGEST, _LONGEST)
        trial = partial(_moved, here, point, step)
        here, _, moved = longest_step(here, height.detach(), trial, value, _STEP_SIZES, _choose)
        if surely_none(moved):
            break
    return here


def _moved(here: Component, point: dict[str, Tensor], step: dict[str, Tensor], size: float) -> Component:
    return here.with_free({name: x.detach() + size * step.get(name, 0.0) for name, x in point.items()})


def _choose(chosen: Tensor, one: Component, other: Component) -> Component:
    return one.where(chosen, other)


def _lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """What is impossible stays so."""
    return torch.where(start.isneginf(), start, torch.lerp(start, end, share))


def _weighted(counts: Tensor, log_table: Tensor) -> Tensor:
    """(R,) Σ counts · log_table, 0 where nothing was counted."""
    return torch.where(counts > 0, counts * log_table.where(counts > 0, 0.0), 0.0).flatten(1).sum(1)
