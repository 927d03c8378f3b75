"""Gradient ascent on the exact marginal likelihood, all restarts at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.components.quasi_newton import Ascent
from hsmm.potentials import Potentials
from hsmm.training.coordinates import Coordinates, confined
from hsmm.training.em import Fit
from hsmm.training.objective import Objective

_PATIENCE = 3
_MEMORY, _EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True, eq=False)
class Slope:
    """``value`` (R,) of the objective at ``vectors`` (R, P), and its ``gradient`` there, 0 where there is none."""

    vectors: Tensor
    value: Tensor
    gradient: Tensor


def slope(coordinates: Coordinates, objective: Objective, vectors: Tensor) -> Slope:
    """The objective and its gradient by one forward and one backward pass; -inf where models cannot be computed.

    Of emissions that say how they climb by the moments of their rows, no row takes part in the differentiation.
    """
    point, (model, p), sound = _computable(coordinates, objective, vectors.detach())
    with torch.enable_grad():
        reached = inference.log_partition(p, with_counts=objective.weight is None)
        value = objective.total(reached) + model.log_prior()
        height = value[value.isfinite()].sum()
        if model.emission.takes_units:
            of_others, weights = torch.autograd.grad(
                height, [point, p.log_emission], retain_graph=True, allow_unused=True
            )
            climb = model.emission.climb(objective.sequences, weights / objective.temperature).sum()
            of_emission = torch.autograd.grad(climb, point)[0] if climb.requires_grad else None
            gradient = sum((x for x in (of_others, of_emission) if x is not None), torch.zeros_like(point))
        else:
            (gradient,) = torch.autograd.grad(height, point)
    value = value.detach() if bool(sound.all()) else value.detach().masked_fill(~sound, -torch.inf)
    return Slope(vectors, value, gradient.nan_to_num(0.0, 0.0, 0.0))


def _computable(
    coordinates: Coordinates, objective: Objective, vectors: Tensor
) -> tuple[Tensor, tuple[Model, Potentials], Tensor]:
    """Points with their models and tables, and which of them lie at ``vectors``: where a step went so far that no
    tables can be made there, the others lie where the coordinates began."""
    origin = coordinates.origin()
    with torch.no_grad():
        sound = coordinates.model(vectors).in_range()
    while True:
        here = vectors if bool(sound.all()) else torch.where(sound.unsqueeze(1), vectors, origin)
        with torch.enable_grad():
            point = here.detach().requires_grad_()
            model = confined(coordinates.model(point), objective)
            fits = model.emission.is_proper() | ~sound
            if bool(fits.all()):
                p = _tables(model, objective)
                fits = inference.computable(p) | ~sound
                if bool(fits.all()):
                    return point, (model, p), sound
        sound = sound & fits


def _tables(model: Model, objective: Objective) -> Potentials:
    """The potentials; a table of emissions that is a leaf of its own where these differentiate by moments."""
    if not model.emission.takes_units:
        return objective.potentials(model)
    law = model.emission
    still = law.with_parameters(**{name: value.detach() for name, value in law.parameters.items()})
    p = objective.potentials(replace(model, emission=still))
    return replace(p, log_emission=p.log_emission.requires_grad_())


def adam(model: Model, objective: Objective, *, n_steps: int, learning_rate: float) -> Fit:
    """``n_steps`` steps of Adam (Kingma & Ba 2015) from each of R models; the last models."""
    coordinates = Coordinates(model, objective.frozen)
    vectors = coordinates.of(model)
    mean, square = torch.zeros_like(vectors), torch.zeros_like(vectors)
    history = []
    for step in range(1, n_steps + 1):
        here = slope(coordinates, objective, vectors)
        history.append(here.value)
        objective.tell(here.value)
        mean = _MEMORY[0] * mean + (1.0 - _MEMORY[0]) * here.gradient
        square = _MEMORY[1] * square + (1.0 - _MEMORY[1]) * here.gradient**2
        spread = (square / (1.0 - _MEMORY[1] ** step)).sqrt() + _EPSILON
        vectors = vectors + learning_rate * mean / (1.0 - _MEMORY[0] ** step) / spread
        vectors = projected(coordinates, objective, vectors)
    return _fit(coordinates.model(vectors), objective, history, torch.full_like(history[0], n_steps).long())


def l_bfgs(model: Model, objective: Objective, *, n_steps: int, tol: float) -> Fit:
    """At most ``n_steps`` steps of L-BFGS from each of R models, until some in a row gain less than ``tol`` a row.

    Means are measured in their states' standard deviations: without, a narrow state is steep in them beyond all else.
    """
    coordinates = Coordinates(model, objective.frozen)
    vectors, sizes = coordinates.of(model), coordinates.sizes()
    running = torch.arange(len(vectors), device=vectors.device)
    n_iter = torch.zeros_like(running)
    converged = torch.zeros_like(running, dtype=torch.bool)
    idle = torch.zeros_like(running)
    here = slope(coordinates, objective, vectors)
    history = [here.value.clone()]
    ascent, own, target = Ascent(), coordinates, objective
    for _ in range(n_steps):
        size = sizes[running]

        def at(
            trial: Tensor, some: Tensor, own: Coordinates = own, target: Objective = target, size: Tensor = size
        ) -> tuple[Tensor, Tensor, Tensor]:
            if len(some) < len(size):
                own, target, size = own.take(some), target.of_models(some), size[some]
            found = slope(own, target, trial * size)
            return trial, found.value, found.gradient * size

        before = here.value
        reached, value, gradient = ascent.step(at, here.vectors / size, before, here.gradient * size)
        here = Slope(projected(own, target, reached * size), value, gradient / size)
        vectors[running] = here.vectors
        n_iter[running] += 1
        objective.tell(here.value)
        row = torch.full_like(history[0], torch.nan)
        row[running] = here.value
        history.append(row)
        small = here.value - before < tol * target.n_observations
        idle = torch.where(small, idle + 1, 0)
        done = (idle >= _PATIENCE) & (tol > 0) | here.value.isneginf()
        converged[running[done]] = True
        staying = ~done
        running, idle = running[staying], idle[staying]
        here = Slope(here.vectors[staying], here.value[staying], here.gradient[staying])
        ascent.take(staying)
        if not len(running):
            break
        if bool(done.any()):
            own, target = own.take(staying), target.of_models(staying)
    return _fit(coordinates.model(vectors), objective, history, n_iter, converged)


def projected(coordinates: Coordinates, objective: Objective, vectors: Tensor) -> Tensor:
    """Where a floor was passed, the floor."""
    moved = coordinates.of(confined(coordinates.model(vectors), objective))
    return torch.where((moved - vectors).abs() > 1e-9 * vectors.abs().clamp(min=1.0), moved, vectors)


def _fit(
    model: Model, objective: Objective, history: list[Tensor], n_iter: Tensor, converged: Tensor | None = None
) -> Fit:
    """What a climb along these objectives ended in."""
    reached = objective.total(inference.log_partition(objective.potentials(model)))
    last = reached + model.log_prior()
    if converged is None:
        history = [*history, last]
        converged = torch.zeros_like(n_iter, dtype=torch.bool)
    return Fit(
        model=model,
        log_likelihood=reached,
        objective=last,
        history=torch.stack(history),
        n_iter=n_iter,
        converged=converged,
        fall=torch.zeros_like(last),
    )
