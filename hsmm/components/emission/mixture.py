"""States of several kinds of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import (
    Bound,
    Constraint,
    as_parameter,
    check_concentration,
    check_distribution,
    dirichlet_mode,
    from_free,
    safe_log,
    to_free,
)
from hsmm.components.emission.base import Emission, standardised
from hsmm.components.emission.effect import Effect
from hsmm.components.emission.nested import own, prefixed
from hsmm.components.emission.repeats import gathered, spread
from hsmm.components.emission.support import Support
from hsmm.components.emission.tails import Tails
from hsmm.components.register import resolve
from hsmm.numerics import logsumexp, ordered_sum
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

_PREFIX = "component"
_BLOCK_CELLS = 1 << 16


@dataclass(frozen=True, eq=False)
class Mixture(Emission):
    """A mixture of ``n_components`` laws of one family in each state.

    Parameters ``weight`` (R, K, M), with a Dirichlet prior of this ``concentration`` >= 1 (1: none), and those of
    ``component``, a family by name or as an object, as ``component.…`` (R, K, M, …).
    """

    name: ClassVar[str] = "mixture"

    component: str | Emission = "gaussian"
    n_components: int = 2
    concentration: float = 1.0

    def __post_init__(self) -> None:
        check_concentration(self.concentration)
        if not isinstance(self.n_components, (int, np.integer)) or self.n_components < 1:
            raise ValueError(f"n_components is {self.n_components!r}; expected a whole number >= 1.")
        family = resolve("emission", self.component, "mixture").bare()
        if any(axes != (1,) for axes in family.state_axes.values()):
            raise ValueError(f"a {family.name} law cannot be the component of a mixture; choose another.")
        object.__setattr__(self, "component", family)
        object.__setattr__(self, "n_components", int(self.n_components))

    @classmethod
    def from_parameters(cls, weight: Any, component: Emission, **hyperparameters: Any) -> Self:
        """``weight`` (K, M), and a law of K · M states: those of state k are k · M, …, k · M + M - 1."""
        value = as_parameter(weight, "weight", (2,))
        shape = tuple(value.shape[1:])
        if len(component.order()) != value[0].numel():
            raise ValueError(f"the component has {len(component.order())} states; expected {shape[0]} x {shape[1]}.")
        made = cls(component=component, n_components=shape[1], **hyperparameters)
        made = made._with(value, component)
        made.check()
        return made

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        return {"weight": (1,), **prefixed(_PREFIX, self._family.state_axes)}

    @property
    def support(self) -> Support:  # type: ignore[override]
        return self._family.support

    @property
    def is_location_scale(self) -> bool:  # type: ignore[override]
        return self._family.is_location_scale

    @property
    def uses_covariates(self) -> bool:  # type: ignore[override]
        return self._family.uses_covariates

    @cached_property
    def components(self) -> Emission:
        """The law of all components of all states, K · M states of its own."""
        values = own(_PREFIX, self.parameters)
        return replace(self._family, parameters={name: value.flatten(1, 2) for name, value in values.items()})

    @property
    def weight_(self) -> np.ndarray:
        """(K, M)"""
        return self.fitted("weight")

    @property
    def is_smooth(self) -> bool:
        return self.components.is_smooth

    @property
    def n_features(self) -> int:
        return self.components.n_features

    def check(self) -> None:
        weight, values = self.parameters["weight"], own(_PREFIX, self.parameters)
        shapes = {tuple(value.shape[:3]) for value in (weight, *values.values())}
        if weight.ndim != 3 or len(shapes) > 1 or weight.shape[-1] != self.n_components or 0 in weight.shape:
            raise ValueError(
                f"parameters begin with shapes {sorted(shapes)}; expected one, (1, K, {self.n_components})."
            )
        check_distribution(weight.numpy(), "weight")
        self.components.check()

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        rows, of_row = self._distinct(sequences)
        table, log_weight = self._tables(rows)
        if table.requires_grad or log_weight.requires_grad:
            found = logsumexp(table + log_weight.unsqueeze(1))
        else:
            found = table.new_empty(table.shape[:-1])
            for part, weight, total in _blocks(table, log_weight, found):
                peak, terms = _relative(part.add_(weight))
                total.copy_(ordered_sum(terms, 0).log_().add_(peak))
        if not rows.is_complete:
            found = torch.where(rows.observed.any(1, keepdim=True), found, 0.0)
        return spread(found, of_row, out)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        """Each state's rows, cut into bands along a direction that differs between restarts."""
        split = labels * self.n_components + _bands(sequences, labels, n_states, self.n_components)
        made = self._family.initialise(sequences, split, n_states * self.n_components)
        shape = (len(labels), n_states, self.n_components)
        return self._with(sequences.values.new_full(shape, 1.0 / shape[-1]), made)

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        rows, share = self._shares(sequences, counts)
        weight = dirichlet_mode(share.sum(1), self.concentration, self.parameters["weight"])
        return self._with(weight, self.components.maximise(rows, share.flatten(2)))

    def _shares(self, sequences: Sequences, counts: StateSeries) -> tuple[Sequences, Tensor]:
        """The rows told apart, and (R, N, K, M) the weight of each under each component."""
        rows, of_row = self._distinct(sequences)
        share, log_weight = self._tables(rows)
        for part, weight, mass in _blocks(share, log_weight, gathered(counts, of_row, rows.n_rows)):
            _, terms = _relative(part.add_(weight))
            terms.mul_(mass / ordered_sum(terms, 0).clamp_(min=1e-300))
            part.copy_(terms.movedim(0, -1))
        return rows, share

    def points(self, sequences: Sequences) -> Tensor:
        return self._family.points(sequences)

    def in_units_of(self, sequences: Sequences) -> Self:
        return self._with(self.parameters["weight"], self.components.in_units_of(sequences))

    def confined(self, sequences: Sequences) -> Self:
        return self._with(self.parameters["weight"], self.components.confined(sequences))

    def completed(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inner = own(_PREFIX, parameters)
        if "weight" not in parameters or not inner:
            return dict(parameters)
        shape = tuple(parameters["weight"].shape[1:])
        whole = self._family.completed({name: value.flatten(1, 2) for name, value in inner.items()})
        added = {name: value.unflatten(1, shape) for name, value in whole.items() if name not in inner}
        return {**parameters, **prefixed(_PREFIX, added)}

    def is_proper(self) -> Tensor:
        return self.components.is_proper()

    def collapsed(self, sequences: Sequences) -> Tensor:
        return self.components.collapsed(sequences)

    def degeneracy(self, sequences: Sequences) -> str:
        return f"of the components, numbered over all states, {self.components.degeneracy(sequences)}"

    @property
    def judges_spikes(self) -> bool:
        return self.components.judges_spikes and not self.uses_covariates

    def suspects(self, sequences: Sequences) -> Tensor:
        return self.components.suspects(sequences)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        if not self.judges_spikes:
            return self
        rows, share = self._shares(sequences, weights)
        share = share.flatten(2)
        of_row = sequences.distinct.of_row
        if of_row is not None:
            copies = of_row.bincount(minlength=rows.n_rows)[:, None]
            share = (share / copies)[:, of_row]
        return self._with(self.parameters["weight"], self.components.sobered(sequences, share))

    def constraints(self) -> Mapping[str, Constraint]:
        return {"weight": "simplex", **prefixed(_PREFIX, self._family_of_shape.constraints())}

    def shared_axes(self) -> Mapping[str, tuple[int, ...]]:
        axes = self._family_of_shape.shared_axes()
        moved = {name: tuple(x for a in of for x in ((1, 2) if a == 1 else (a + 1,))) for name, of in axes.items()}
        return prefixed(_PREFIX, moved)

    def free(self) -> dict[str, Tensor]:
        return {"weight": to_free(self.parameters["weight"], "simplex"), **self._unflattened(self.components.free())}

    def sizes(self) -> dict[str, Tensor]:
        return self._unflattened(self.components.sizes())

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        inner = {name: value.flatten(1, 2) for name, value in own(_PREFIX, coordinates).items()}
        weight = self.parameters["weight"]
        if "weight" in coordinates:
            weight = from_free(coordinates["weight"], "simplex")
        return self._with(weight, self.components.with_free(inner) if inner else self.components)

    def log_prior(self) -> Tensor:
        weights = torch.xlogy(self.concentration - 1.0, self.parameters["weight"]).sum((-1, -2))
        return weights + self.components.log_prior()

    def n_parameters(self) -> int:
        _, k, m = self.parameters["weight"].shape
        return k * (m - 1) + self.components.n_parameters()

    def tails(self, sequences: Sequences) -> Tails:
        weight, inner = self.parameters["weight"][0], self.components.tails(sequences)
        by_component = Tails(*(part.unflatten(-1, tuple(weight.shape)) for part in inner.parts()))
        return by_component.mixed(weight.log())

    def order(self) -> Tensor:
        """By the mean place of the components in their own order."""
        weight = self.parameters["weight"][0]
        place = self.components.order().argsort().view(weight.shape).to(weight.dtype)
        return (weight * place).sum(-1).argsort(stable=True)

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return prefixed(_PREFIX, self._family.bounds())

    def governing(self, n_features: int) -> Sequence[Emission]:
        return self._family.governing(n_features)

    def example(self, n_rows: int, generator: torch.Generator) -> Sequences:
        return self._family.example(n_rows, generator)

    def moments(self) -> tuple[Tensor, Tensor] | None:
        found = self.components.moments()
        if found is None:
            return None
        weight = self.parameters["weight"].unsqueeze(-1)
        means, spreads = (x.unflatten(1, tuple(weight.shape[1:3])) for x in found)
        mean = (weight * means).sum(2)
        return mean, (weight * (spreads.square() + (means - mean.unsqueeze(2)).square())).sum(2).sqrt()

    def effects(self, sequences: Sequences) -> Sequence[Effect]:
        """Means and chances; a spread is that of the components and of their means, which a curve would mix."""
        weight = self.parameters["weight"][0]
        return [
            replace(own, values=(weight * own.values.unflatten(1, tuple(weight.shape))).sum(-1))
            for own in self.components.effects(sequences)
            if own.quantity in ("mean", "probability")
        ]

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        weight = self.parameters["weight"][0]
        drawn = torch.multinomial(weight[states], 1, generator=generator).squeeze(1)
        return self.components.sample(states * weight.shape[1] + drawn, generator, covariates)

    @property
    def _family(self) -> Emission:
        assert isinstance(self.component, Emission)
        return self.component

    @property
    def _family_of_shape(self) -> Emission:
        return self.components if self.parameters else self._family

    def _distinct(self, sequences: Sequences) -> tuple[Sequences, Tensor | None]:
        """The rows that the law tells apart, and which of them each row is."""
        if self.uses_covariates:
            return sequences, None
        return sequences.distinct.rows, sequences.distinct.of_row

    def _tables(self, rows: Sequences) -> tuple[Tensor, Tensor]:
        """(R, N, K, M) log-density of the rows under each component, and (R, K, M) the components' log-weights."""
        weight = self.parameters["weight"]
        return self.components.log_potentials(rows).unflatten(2, tuple(weight.shape[1:])), safe_log(weight)

    def _with(self, weight: Tensor, components: Emission) -> Self:
        shape = tuple(weight.shape[1:])
        inner = {name: value.unflatten(1, shape) for name, value in components.parameters.items()}
        made = replace(self, parameters={"weight": weight, **prefixed(_PREFIX, inner)})
        made.__dict__["components"] = components
        return made

    def _unflattened(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shape = tuple(self.parameters["weight"].shape[1:])
        return prefixed(_PREFIX, {name: value.unflatten(1, shape) for name, value in values.items()})


def _blocks(table: Tensor, log_weight: Tensor, of_rows: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The models one after the other, each in blocks of rows that fit into caches: parts of all three."""
    size = max(1, _BLOCK_CELLS // log_weight[0].numel())
    for model, weight, others in zip(table, log_weight, of_rows, strict=True):
        for part, other in zip(model.split(size), others.split(size), strict=True):
            yield part, weight, other


def _relative(joint: Tensor) -> tuple[Tensor, Tensor]:
    """The largest (N, K) of log-densities (N, K, M), and (M, N, K) all densities relative to it."""
    terms = joint.movedim(-1, 0).contiguous()
    peak = terms.amax(0)
    peak.masked_fill_(peak.isneginf(), 0.0)
    return peak, terms.sub_(peak).exp_()


def _bands(sequences: Sequences, labels: Tensor, n_states: int, n_bands: int) -> Tensor:
    """(R, N) which of ``n_bands`` equal parts of its state's rows a row belongs to.

    Rows are sorted along a direction drawn for each restart or, in every third, by their distance from the centre.
    """
    n_restarts, n_rows = labels.shape
    generator = torch.Generator().manual_seed(n_bands)
    direction = torch.randn((sequences.n_features, n_restarts), generator=generator, dtype=sequences.values.dtype)
    standard = standardised(sequences)
    height = (standard @ direction.to(standard.device)).mT.contiguous()
    height[2::3] = standard.norm(dim=1)
    by_height = height.argsort(dim=1, stable=True)
    by_state = labels.gather(1, by_height).argsort(dim=1, stable=True)
    row = by_height.gather(1, by_state)
    state = labels.gather(1, row)
    size = torch.zeros(n_restarts, n_states, dtype=torch.int64, device=labels.device)
    size = size.scatter_add_(1, labels, torch.ones_like(labels))
    first = size.cumsum(1) - size
    place = torch.arange(n_rows, device=labels.device) - first.gather(1, state)
    return torch.empty_like(labels).scatter_(1, row, place * n_bands // size.gather(1, state))
