"""Columns of different kinds side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import Bound, Constraint
from hsmm.components.emission.base import Emission
from hsmm.components.emission.effect import Effect
from hsmm.components.emission.nested import own, prefixed
from hsmm.components.emission.tails import Tails
from hsmm.components.register import resolve
from hsmm.sequences import Sequences
from hsmm.types import StateSeries


@dataclass(frozen=True, eq=False)
class Product(Emission):
    """Given the state, each of the ``parts``, families by name or as objects, governs its ``columns`` independently.

    ``columns`` has for each part the columns of X it describes, by default one each in their order; together they are
    all columns. The parameters of part i are named ``i.…``.
    """

    name: ClassVar[str] = "product"

    parts: Sequence[str | Emission]
    columns: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.parts, (str, Emission)) or not len(self.parts):
            raise ValueError(f"parts are {self.parts!r}; expected several families, such as ('gaussian', 'bernoulli').")
        given = [(i,) for i in range(len(self.parts))] if self.columns is None else self.columns
        columns = tuple(tuple(int(column) for column in own_columns) for own_columns in given)
        if len(columns) != len(self.parts) or not all(columns):
            raise ValueError(f"columns are {self.columns!r} for {len(self.parts)} parts; expected some for each part.")
        flat = sorted(column for own_columns in columns for column in own_columns)
        if flat != list(range(len(flat))):
            raise ValueError(f"columns are {self.columns!r}; expected each of 0 to {len(flat) - 1} exactly once.")
        object.__setattr__(self, "parts", tuple(resolve("emission", part, "product").bare() for part in self.parts))
        object.__setattr__(self, "columns", columns)

    @classmethod
    def from_parameters(cls, parts: Sequence[Emission], columns: Sequence[Sequence[int]] | None = None) -> Self:
        """Laws with parameters, of as many states each."""
        made = cls(parts, columns)._with(parts)
        made.check()
        return made

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        return self._merged(part.state_axes for part in self._families)

    @property
    def is_location_scale(self) -> bool:  # type: ignore[override]
        return all(part.is_location_scale for part in self._families)

    @property
    def uses_covariates(self) -> bool:  # type: ignore[override]
        return any(part.uses_covariates for part in self._families)

    @cached_property
    def laws(self) -> tuple[Emission, ...]:
        """The parts with their parameters."""
        return tuple(replace(part, parameters=own(str(i), self.parameters)) for i, part in enumerate(self._families))

    @property
    def n_before(self) -> int:
        return max(part.n_before for part in self._families)

    @property
    def is_smooth(self) -> bool:
        return all(law.is_smooth for law in self.laws)

    @property
    def n_features(self) -> int:
        return sum(len(columns) for columns in self._columns)

    def check(self) -> None:
        for part, columns in zip(self.laws, self._columns, strict=True):
            part.check()
            if part.n_features != len(columns):
                raise ValueError(
                    f"a {part.name} part has {part.n_features} features; expected its {len(columns)} columns."
                )
        sizes = [len(part.order()) for part in self.laws]
        if len(set(sizes)) > 1:
            raise ValueError(f"the parts have {', '.join(map(str, sizes))} states; expected as many each.")

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        self._check_columns(sequences)
        first, *others = zip(self.laws, self._views(sequences), strict=True)
        total = first[0].log_potentials(first[1], out)
        for part, view in others:
            table = part.log_potentials(view)
            total = total + table if total.requires_grad or table.requires_grad else total.add_(table)
        return total

    def log_density_of(self, sequences: Sequences, columns: Collection[int]) -> StateSeries:
        parts = zip(self.laws, self._columns, self._views(sequences), strict=True)
        asked = [(law, view, [i for i, column in enumerate(own) if column in columns]) for law, own, view in parts]
        return torch.stack([law.log_density_of(view, places) for law, view, places in asked]).sum(0)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        self._check_columns(sequences)
        views = self._views(sequences)
        return self._with([p.initialise(v, labels, n_states) for p, v in zip(self._families, views, strict=True)])

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        views = self._views(sequences)
        return self._with([part.maximise(view, counts) for part, view in zip(self.laws, views, strict=True)])

    def tails(self, sequences: Sequences) -> Tails:
        self._check_columns(sequences)
        each = [law.tails(view).parts() for law, view in zip(self.laws, self._views(sequences), strict=True)]
        return Tails(*(self._placed(list(parts), 1) for parts in zip(*each, strict=True)))

    def points(self, sequences: Sequences) -> Tensor:
        self._check_columns(sequences)
        views = self._views(sequences)
        return torch.cat([part.points(view) for part, view in zip(self._families, views, strict=True)], 1)

    def in_units_of(self, sequences: Sequences) -> Self:
        views = self._views(sequences)
        return self._with([part.in_units_of(view) for part, view in zip(self.laws, views, strict=True)])

    def confined(self, sequences: Sequences) -> Self:
        return self._with([p.confined(view) for p, view in zip(self.laws, self._views(sequences), strict=True)])

    def completed(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._merged(part.completed(own(str(i), parameters)) for i, part in enumerate(self._families))

    def is_proper(self) -> Tensor:
        return torch.stack([part.is_proper() for part in self.laws]).all(0)

    def collapsed(self, sequences: Sequences) -> Tensor:
        views = self._views(sequences)
        return torch.stack([p.collapsed(view) for p, view in zip(self.laws, views, strict=True)]).any(0)

    def governing(self, n_features: int) -> Sequence[Emission]:
        found: dict[int, Emission] = {}
        for part, columns in zip(self._families, self._columns, strict=True):
            found.update(zip(columns, part.governing(len(columns)), strict=True))
        return [found[column] for column in sorted(found)]

    def example(self, n_rows: int, generator: torch.Generator) -> Sequences:
        laws = self.governing(self.n_features)
        return Sequences.from_arrays(torch.cat([law.support.example(n_rows, 1, generator) for law in laws], 1))

    def moments(self) -> tuple[Tensor, Tensor] | None:
        """NaN for the columns of parts that have none."""
        of_parts = [part.moments() for part in self.laws]
        if not any(of_parts):
            return None
        shape = (self.n_restarts, len(self.order()), self.n_features)
        found = [torch.full(shape, torch.nan, dtype=torch.float64) for _ in range(2)]
        for moments, columns in zip(of_parts, self._columns, strict=True):
            for whole, part in zip(found, moments or (), strict=False):
                whole[..., columns] = part
        return found[0], found[1]

    def effects(self, sequences: Sequences) -> Sequence[Effect]:
        return [
            replace(effect, feature=columns[effect.feature])
            for law, view, columns in zip(self.laws, self._views(sequences), self._columns, strict=True)
            for effect in law.effects(view)
        ]

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        return self._merged(part.bounds() for part in self._families)

    @property
    def judges_spikes(self) -> bool:
        return all(law.judges_spikes for law in self.laws)

    def suspects(self, sequences: Sequences) -> Tensor:
        views = self._views(sequences)
        return torch.stack([p.suspects(view) for p, view in zip(self.laws, views, strict=True)]).any(0)

    def sobered(self, sequences: Sequences, weights: StateSeries) -> Self:
        views = self._views(sequences)
        return self._with([part.sobered(view, weights) for part, view in zip(self.laws, views, strict=True)])

    def degeneracy(self, sequences: Sequences) -> str:
        parts = zip(self.laws, self._views(sequences), strict=True)
        return "; ".join(part.degeneracy(view) for part, view in parts if bool(part.collapsed(view)[0]))

    def cautions(self, sequences: Sequences) -> list[str]:
        views = self._views(sequences)
        return [said for part, view in zip(self.laws, views, strict=True) for said in part.cautions(view)]

    def constraints(self) -> Mapping[str, Constraint]:
        return self._merged(part.constraints() for part in self.laws)

    def shared_axes(self) -> Mapping[str, tuple[int, ...]]:
        return self._merged(part.shared_axes() for part in self.laws)

    def free(self) -> dict[str, Tensor]:
        return self._merged(part.free() for part in self.laws)

    def sizes(self) -> dict[str, Tensor]:
        return self._merged(part.sizes() for part in self.laws)

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        inner = [own(str(i), coordinates) for i in range(len(self.laws))]
        return self._with([part.with_free(x) if x else part for part, x in zip(self.laws, inner, strict=True)])

    def log_prior(self) -> Tensor:
        return torch.stack([part.log_prior() for part in self.laws]).sum(0)

    def n_parameters(self) -> int:
        return sum(part.n_parameters() for part in self.laws)

    def order(self) -> Tensor:
        """That of the first part."""
        return self.laws[0].order()

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        drawn = torch.empty(len(states), self.n_features, dtype=torch.float64)
        for part, columns in zip(self.laws, self._columns, strict=True):
            drawn[:, columns] = part.sample(states, generator, covariates)
        return drawn

    @property
    def _families(self) -> tuple[Emission, ...]:
        return tuple(part for part in self.parts if isinstance(part, Emission))

    @property
    def _columns(self) -> Sequence[Sequence[int]]:
        assert self.columns is not None
        return self.columns

    def _views(self, sequences: Sequences) -> list[Sequences]:
        return [sequences.columns(columns) for columns in self._columns]

    def _placed(self, of_parts: list[Tensor], axis: int) -> Tensor:
        """What the parts say of their columns, along ``axis`` in the order of the columns."""
        order = torch.tensor([column for columns in self._columns for column in columns]).argsort()
        return torch.cat(of_parts, axis).index_select(axis, order)

    def _check_columns(self, sequences: Sequences) -> None:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the parts describe {self.n_features} columns.")

    def _with(self, laws: Sequence[Emission]) -> Self:
        made = replace(self, parameters=self._merged(part.parameters for part in laws))
        made.__dict__["laws"] = tuple(laws)
        return made

    @staticmethod
    def _merged(of_parts: Any) -> dict[str, Any]:
        return {name: value for i, x in enumerate(of_parts) for name, value in prefixed(str(i), x).items()}
