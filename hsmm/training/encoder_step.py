"""What expected counts teach an encoder: a few steps uphill for all of its heads together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step
from hsmm.components.duration import DurationCounts, UncensoredCounts
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.numerics import surely_none
from hsmm.potentials import equilibrium_residual
from hsmm.sequences import Sequences

_N_STEPS = 2
_LENGTH = 0.03  # of a step: the root mean square by which the numbers of one weight move
_STEP_SIZES = (1.0, 0.5, 0.25, 0.1, 0.03)

Point = dict[str, Tensor]


def counts_of(kind: str, model: Model, sequences: Sequences, counts: Posterior) -> Any:
    """What was counted of this table; where the first state depends on the series, of each series apart."""
    if kind == "duration":
        family = DurationCounts if model.left_censored else UncensoredCounts
        return family(counts.duration, counts.residual, counts.tail_stay, counts.tail_leave)
    if kind == "initial" and model.initial.uses_covariates:
        return counts.state[:, sequences.offsets[:-1]]
    return counts.state if kind == "emission" else getattr(counts, kind)


def with_better_encoder(model: Model, sequences: Sequences, counts: Posterior, held: frozenset[str]) -> Model:
    """The models with encoders that do not lower the expected log-likelihood of their heads and the encoder's prior.

    Steps go along the gradient, each weight's in a length of its own, and are halved until nothing falls.
    """
    assert model.context is not None
    for _ in range(_N_STEPS):
        here = {name: value for name, value in model.context.free().items() if name not in held}
        reached, gradient = _slope(model, sequences, counts, here)
        step = {name: _LENGTH * value / _size(value).clamp(min=1e-30) for name, value in gradient.items()}

        def trial(size: float, here: Point = here, step: Point = step) -> Point:
            return {name: value + size * step[name] for name, value in here.items()}

        def value(there: Point, model: Model = model) -> Tensor:
            return _expected(_with(model, there), sequences, counts)

        found, _, moved = longest_step(here, reached, trial, value, _STEP_SIZES, _chosen, 1e-14)
        model = _with(model, found)
        if surely_none(moved):
            break
    return model


def _with(model: Model, weights: Point) -> Model:
    assert model.context is not None
    return replace(model, context=model.context.with_parameters(**weights))


def _chosen(moved: Tensor, one: Point, other: Point) -> Point:
    return {name: choose_entries(moved, one[name], other[name]) for name in one}


def _size(value: Tensor) -> Tensor:
    flat = value.flatten(1).square().mean(1).sqrt()
    return flat.view(-1, *[1] * (value.ndim - 1))


def _slope(model: Model, sequences: Sequences, counts: Posterior, here: Point) -> tuple[Tensor, Point]:
    with torch.enable_grad():
        point = {name: value.detach().requires_grad_() for name, value in here.items()}
        value = _expected(_with(model, point), sequences, counts)
        slopes = torch.autograd.grad(value.sum(), list(point.values()))
    return value.detach(), dict(zip(point, slopes, strict=True))


def _expected(model: Model, sequences: Sequences, counts: Posterior) -> Tensor:
    """(R,) what of the expected log-likelihood the encoder moves, and its log-prior."""
    assert model.context is not None
    rows, total = model.beside(sequences), model.context.log_prior()
    for kind, part in model.components().items():
        if kind == "context" or not part.uses_covariates:
            continue
        table, seen = part.log_potentials(rows), counts_of(kind, model, rows, counts)
        if kind != "duration":
            total = total + _weighed(seen, table)
            continue
        total = total + _weighed(seen.duration, table.log_duration)
        if seen.has_residual:
            stay = None if table.log_tail is None else table.log_tail.unsqueeze(1)
            law = equilibrium_residual(table.log_duration[:, rows.offsets[:-1]], stay)
            total = total + _weighed(seen.residual, law)
    return total


def _weighed(counts: Tensor, table: Tensor) -> Tensor:
    """(R,) Σ counts · table, where something is counted."""
    counted = counts > 0
    return torch.where(counted, counts * table.masked_fill(~counted, 0.0), 0.0).flatten(1).sum(1)
