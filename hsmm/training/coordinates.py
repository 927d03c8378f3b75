"""The learnt parameters of R models as one vector each, without constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.model import Model
from hsmm.training.freezing import is_frozen, with_frozen
from hsmm.training.objective import Objective


class Coordinates:
    """Between models of the structure and frozen values of ``model`` and vectors (R, P).

    What cannot happen (probability 0) stays so, and values that a family shares along an axis stay one.
    """

    def __init__(self, model: Model, frozen: frozenset[str]) -> None:
        self._model, self._frozen = model, frozen
        self._origin = model.free()
        self._learnt = [name for name in self._origin if not is_frozen(frozen, name)]
        if not self._learnt:
            raise ValueError("nothing is left to learn: every table is frozen or has no parameters.")
        self._possible = {name: self._origin[name].isfinite() for name in self._learnt}
        self._shared = {
            f"{kind}.{name}": axes
            for kind, part in model.components().items()
            for name, axes in part.shared_axes().items()
        }

    @property
    def blocks(self) -> dict[str, slice]:
        """Where in the vector each parameter "table.name" lies."""
        ends, start = {}, 0
        for name in self._learnt:
            stop = start + self._origin[name][0].numel()
            ends[name], start = slice(start, stop), stop
        return ends

    def of(self, model: Model) -> Tensor:
        """(R, P)"""
        free = model.free()
        return torch.cat(
            [torch.where(self._possible[name], free[name], 0.0).flatten(1) for name in self._learnt], 1
        ).clone()

    def model(self, vectors: Tensor) -> Model:
        """The models at these vectors, differentiable in them."""
        coordinates = dict(self._origin)
        for name, values in self._split(vectors):
            for axis in self._shared.get(name, ()):
                values = values.mean(axis, keepdim=True).expand_as(values)
            coordinates[name] = torch.where(self._possible[name], values, self._origin[name])
        return with_frozen(self._with_free(coordinates), self._model, self._frozen)

    def origin(self) -> Tensor:
        """(R, P) the vectors of the models that these coordinates were made for."""
        return self.of(self._model)

    def sizes(self) -> Tensor:
        """(R, P) what a step along each coordinate is compared with: 1, or a standard deviation of the data's unit."""
        known = self._model.sizes()
        own = [(self._origin[name], known.get(name)) for name in self._learnt]
        return torch.cat([(torch.ones_like(x) if size is None else size.expand_as(x)).flatten(1) for x, size in own], 1)

    def take(self, restarts: Tensor) -> Coordinates:
        return Coordinates(self._model.take(restarts), self._frozen)

    def _split(self, vectors: Tensor) -> Iterator[tuple[str, Tensor]]:
        for name, block in self.blocks.items():
            yield name, vectors[:, block].view(-1, *self._origin[name].shape[1:])

    def _with_free(self, coordinates: Mapping[str, Tensor]) -> Model:
        own: dict[str, dict[str, Tensor]] = {}
        for key, value in coordinates.items():
            kind, _, name = key.partition(".")
            own.setdefault(kind, {})[name] = value
        parts = self._model.components()
        changed = {kind: parts[kind].with_free(values) for kind, values in own.items()}
        for part in changed.values():
            _without_slope_at_zero(part)
        return replace(self._model, **changed)


def _without_slope_at_zero(part: Component) -> None:
    """What cannot happen has no slope, whatever a family's logarithms say there."""
    for name, kind in part.constraints().items():
        value = part.parameters[name]
        if kind == "simplex" and value.requires_grad:
            impossible = value.detach() == 0
            value.register_hook(lambda slope, impossible=impossible: slope.masked_fill(impossible, 0.0))


def confined(model: Model, objective: Objective) -> Model:
    """The models moved to where their M-step could have put them."""
    return replace(model, emission=model.emission.confined(objective.sequences))
