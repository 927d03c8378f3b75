"""Observed information: the curvature of the objective at its top, by differences of its exact gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsmm.components.duration import Duration
from hsmm.components.model import Model
from hsmm.components.transition.table import Table
from hsmm.training.coordinates import Coordinates, confined
from hsmm.training.gradient import slope
from hsmm.training.objective import Objective

BOUNDARY = 0.01
"""A probability of fewer events than this in all rows lies on its boundary, where its estimate has no normal law."""

_STEP = 1e-5
_SHARE = 1e-4  # of a standard deviation, for the slopes of what is derived from parameters
_FLAT, _LOOSE = 1e-6, 1e-4
_KINK = 0.1  # a change of slope by this share: a bound or a floor
_CELLS = 1_000_000


@dataclass(frozen=True, eq=False)
class Curvature:
    """Covariance of the natural parameters "table.name" of one model.

    - ``std_error``: by name, in the parameter's shape without the restart axis; NaN where there is none
    - ``flat``: names of parameters some of which the data do not determine; ``boundary``: those with probabilities 0
    - ``climb``: what the objective would still gain by one Newton step, in nats
    - ``spread`` (P, U): independent moves of the coordinates by one standard deviation each: their covariance is
      spread @ spread.T; ``loose`` (P, V): the moves along which nothing is determined
    """

    std_error: dict[str, Tensor]
    flat: list[str]
    boundary: list[str]
    climb: float
    spread: Tensor
    loose: Tensor


def curvature(model: Model, objective: Objective) -> Curvature:
    """Standard errors by the delta method, of a single model at the top of its objective.

    Raises ``ValueError`` for a model whose encoder was learnt: its weights have no meaning of their own, nor a top.
    """
    if model.context is not None and "context" not in objective.frozen:
        raise ValueError(
            f"this model's encoder {model.context.name!r} was learnt with it, and stopped before the top, so the "
            "curvature there says nothing; compare held-out likelihoods, or fit heads to a frozen=('context',) encoder."
        )
    coordinates = Coordinates(model, objective.frozen)
    least = BOUNDARY / objective.sequences.n_rows
    origin, directions = coordinates.of(model), _directions(model, coordinates, least)

    def numbers(own: Coordinates, vectors: Tensor) -> Tensor:
        return natural(confined(own.model(vectors), objective), coordinates)

    def gradient(own: Coordinates, vectors: Tensor) -> Tensor:
        return slope(own, objective, vectors).gradient

    tables, kinks = _along(coordinates, origin, directions, numbers, objective)
    edges = kinks.norm(dim=0) > _KINK * tables.norm(dim=0)
    stopped = (tables[:, edges].abs() > 0).any(1)
    beyond, directions, tables = directions[:, edges], directions[:, ~edges], tables[:, ~edges]
    bends, _ = _along(coordinates, origin, directions, gradient, objective)
    information = -0.5 * (directions.mT @ bends + bends.mT @ directions)
    unit = information.diagonal().abs().clamp(min=1e-300).rsqrt()
    size, axes = torch.linalg.eigh(unit[:, None] * information * unit)
    spread, curved = unit[:, None] * axes, size > _FLAT
    errors = ((tables @ spread[:, curved]) / size[curved].sqrt()).norm(dim=1)
    loose = (tables @ spread[:, ~curved]).abs() / spread[:, ~curved].norm(dim=0).clamp(min=1e-300)
    undetermined = (loose > _LOOSE).any(1)
    here = slope(coordinates, objective, origin).gradient[0] @ directions @ spread
    std_error, flat, boundary = {}, [], []
    for name, block, value in _tables(model, coordinates):
        edge = stopped[block].view(value.shape)
        error = errors[block].masked_fill(undetermined[block], torch.nan).view(value.shape)
        if _constraint(model, name) == "simplex":
            possible = _possible(model, name)
            low = (value < least) & possible
            alone = low.any(-1, keepdim=True) & ((value >= least).sum(-1, keepdim=True) < 2)
            edge, error = edge | low | (alone & possible), error.masked_fill(~possible, 0.0)
        std_error[name] = error.masked_fill(edge, torch.nan)
        flat += [name] * bool(undetermined[block].any())
        boundary += [name] * bool(edge.any())
    climb = 0.5 * float((here[curved] ** 2 / size[curved]).sum())
    moves = directions @ spread
    return Curvature(
        std_error,
        flat,
        boundary,
        climb,
        spread=moves[:, curved] / size[curved].sqrt(),
        loose=torch.cat([moves[:, ~curved], beyond], 1),
    )


def std_errors(
    quantities: Callable[[Model], np.ndarray], model: Model, found: Curvature, frozen: frozenset[str]
) -> np.ndarray:
    """Of what is derived from the parameters of a single model, in its shape: by the delta method, NaN for what the
    data do not determine."""
    coordinates = Coordinates(model, frozen)
    origin = coordinates.of(model)

    def at(vectors: Tensor) -> np.ndarray:
        return quantities(coordinates.model(vectors).settled())

    def slopes(moves: Tensor) -> np.ndarray:
        ahead, behind = ([at(origin + sign * _SHARE * move) for move in moves.mT] for sign in (1.0, -1.0))
        if not ahead:
            return np.zeros((0, *at(origin).shape))
        with np.errstate(invalid="ignore"):  # stays without end
            return (np.stack(ahead) - np.stack(behind)) / (2.0 * _SHARE)

    errors = np.linalg.norm(slopes(found.spread), axis=0)
    return np.where((np.abs(slopes(found.loose)) > 1e-8).any(0), np.nan, errors)


def _along(
    coordinates: Coordinates,
    origin: Tensor,
    directions: Tensor,
    function: Callable[[Coordinates, Tensor], Tensor],
    objective: Objective,
) -> tuple[Tensor, Tensor]:
    """(Q, U) slopes of a function (R, P) → (R, Q) along the columns of ``directions`` (P, U), and how much they change
    there."""
    steps = _STEP * directions.mT
    points = torch.cat([origin + steps, origin - steps, origin])
    pieces = points.split(max(1, _CELLS // objective.sequences.n_rows))
    values = torch.cat(
        [function(coordinates.take(torch.zeros(len(piece), dtype=torch.int64)), piece).detach() for piece in pieces]
    )
    ahead, behind = values[:-1].chunk(2)
    return ((ahead - behind) / (2.0 * _STEP)).mT, ((ahead + behind - 2.0 * values[-1:]) / _STEP).mT


def _directions(model: Model, coordinates: Coordinates, least: float) -> Tensor:
    """(P, U) independent directions that change the model: contrasts within laws, of cells of at ``least`` this
    probability, and shared values together."""
    columns = []
    n_coordinates = coordinates.of(model).shape[1]
    for name, _, value in _tables(model, coordinates):
        local = _local_directions(model, name, value, least)
        whole = local.new_zeros(n_coordinates, local.shape[1])
        whole[coordinates.blocks[name]] = local
        columns.append(whole)
    return torch.cat(columns, 1)


def _local_directions(model: Model, name: str, value: Tensor, least: float) -> Tensor:
    """(p, u) for the p coordinates of one parameter."""
    kind, _, part = name.partition(".")
    component = model.components()[kind]
    groups = torch.arange(value.numel()).view(value.shape)
    for axis in component.shared_axes().get(part, ()):
        groups = groups.narrow(axis - 1, 0, 1).expand_as(groups)
    unit = torch.nn.functional.one_hot(groups.flatten(), value.numel()).to(value.dtype)
    if _constraint(model, name) == "simplex":
        return _contrasts(value >= least)
    if _constraint(model, name) == "matrix":
        lower = torch.ones(value.shape[-2:], dtype=torch.bool).tril().expand_as(value).flatten()
        unit = unit * lower.unsqueeze(1)
    return unit[:, unit.any(0)]


def _contrasts(positive: Tensor) -> Tensor:
    """Orthonormal changes of logits that sum to 0 within each law (the last axis), of its positive cells."""
    laws = positive.reshape(-1, positive.shape[-1])
    columns = []
    for law, cells in enumerate(laws):
        where = cells.nonzero().flatten()
        n = len(where)
        if n < 2:
            continue
        centred = torch.eye(n, dtype=torch.float64) - 1.0 / n
        basis = torch.linalg.qr(centred[:, : n - 1]).Q
        column = torch.zeros(laws.numel(), n - 1, dtype=torch.float64)
        column[law * laws.shape[1] + where] = basis
        columns.append(column)
    return torch.cat(columns, 1) if columns else torch.zeros(laws.numel(), 0, dtype=torch.float64)


def _tables(model: Model, coordinates: Coordinates) -> Iterator[tuple[str, slice, Tensor]]:
    """Each learnt parameter's name, where it lies among all natural ones, and its value without the restart axis."""
    start = 0
    for name in coordinates.blocks:
        kind, _, part = name.partition(".")
        value = model.components()[kind].parameters[part][0]
        yield name, slice(start, start + value.numel()), value
        start += value.numel()


def natural(model: Model, coordinates: Coordinates) -> Tensor:
    """(R, Q) the learnt parameters as they are."""
    parts = model.components()
    names = (name.partition(".") for name in coordinates.blocks)
    return torch.cat([parts[kind].parameters[part].flatten(1) for kind, _, part in names], 1)


def _constraint(model: Model, name: str) -> str:
    kind, _, part = name.partition(".")
    return model.components()[kind].constraints()[part]


def _possible(model: Model, name: str) -> Tensor:
    """Cells that are not zero by the structure of the model."""
    kind, _, part = name.partition(".")
    component = model.components()[kind]
    value = component.parameters[part][0]
    if isinstance(component, Table):
        return component.possible(component.n_states)
    if isinstance(component, Duration):
        return torch.arange(value.shape[-1]).expand_as(value) >= component.min_duration - 1
    return torch.ones_like(value, dtype=torch.bool)
