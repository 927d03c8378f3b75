"""Every registered family with its options, and the statistics its M-step learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.duration import Duration, DurationCounts
from hsmm.components.emission import EMISSIONS, Emission
from hsmm.components.emission.elliptical import Elliptical
from hsmm.components.initial import Initial
from hsmm.components.register import KINDS
from hsmm.components.transition import Transition
from hsmm.numerics import log_one_minus_exp
from hsmm.potentials import equilibrium_residual
from hsmm.sequences import Sequences
from tests.hsmm.components.options import OPTIONS, WITHOUT_ENTRY, Given

N_RESTARTS, N_STATES, N_ROWS = 3, 3, 150

ELLIPTICAL = {name: family for name, family in EMISSIONS.items() if issubclass(family, Elliptical)}

Statistics = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Case(ABC):
    """A component, rows of its kind, how to make random models of it, and what its M-step maximises."""

    name: str
    component: Component
    sequences: Sequences
    noise: float

    @abstractmethod
    def started(self, seed: int) -> Component:
        """Models that a fit could begin with, a restart axis of ``N_RESTARTS``."""

    @abstractmethod
    def statistics(self, seed: int) -> Statistics:
        """Random statistics; the first axis is the restart."""

    @abstractmethod
    def counts(self, statistics: Statistics) -> Any:
        """The statistics as the M-step takes them."""

    @abstractmethod
    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics: ...

    def log_table(self, component: Component) -> Tensor:
        """The component's tables side by side, (R, K, ...)."""
        return component.log_potentials(self.sequences)

    def log_likelihood(self, component: Component, statistics: Statistics) -> Tensor:
        """(R,) the expected complete-data log-likelihood of the statistics."""
        return weighted(statistics["counts"], component.log_potentials(self.sequences)).flatten(1).sum(1)

    def random(self, seed: int) -> Component:
        """Random models near to where a fit could begin."""
        made, drawn = self.started(seed), generator(seed + 1000)
        free = made.free()
        noise = {name: self.noise * torch.randn(v.shape, generator=drawn, dtype=v.dtype) for name, v in free.items()}
        return tied(made.with_free({name: value + noise[name] for name, value in free.items()}))

    def maximise(self, component: Component, statistics: Statistics, held: tuple[str, ...] = ()) -> Component:
        return component.maximise(self.sequences, self.counts(statistics), held)

    def objective(self, component: Component, statistics: Statistics) -> Tensor:
        return self.log_likelihood(component, statistics) + component.log_prior()

    def optimum(self, component: Component, statistics: Statistics, most: int = 1000) -> tuple[Component, int]:
        """Where M-steps no longer gain, and how many that took."""
        reached = self.objective(component, statistics)
        for step in range(most):
            component = self.maximise(component, statistics)
            now = self.objective(component, statistics)
            if bool((now - reached <= 1e-13 * reached.abs().clamp(min=1.0)).all()):
                return component, step
            reached = now
        return component, most


@dataclass(frozen=True, eq=False)
class InitialCase(Case):
    component: Initial

    def started(self, seed: int) -> Initial:  # noqa: ARG002 - every start is the same
        return self.component.initialise(N_RESTARTS, N_STATES).beside(self.sequences)

    def statistics(self, seed: int) -> Statistics:
        shape = self.started(seed).log_potentials(self.sequences).shape
        return {"counts": 9.0 * torch.rand(shape, generator=generator(seed), dtype=torch.float64)}

    def counts(self, statistics: Statistics) -> Tensor:
        return statistics["counts"]

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"counts": statistics["counts"][..., order]}

    def log_table(self, component: Initial) -> Tensor:
        return component.log_potentials(self.sequences).transpose(1, -1)


@dataclass(frozen=True, eq=False)
class TransitionCase(Case):
    """Counts of (from, to), for all rows together or of each step apart."""

    component: Transition

    def started(self, seed: int) -> Transition:
        dwell = 1.5 + 4.0 * torch.rand((N_RESTARTS, N_STATES), generator=generator(seed), dtype=torch.float64)
        return self.component.initialise(self.sequences, dwell, generator(seed))

    def statistics(self, seed: int) -> Statistics:
        table = self.started(seed).log_potentials(self.sequences)
        counts = 20.0 * torch.rand(table.shape, generator=generator(seed), dtype=torch.float64) * table.isfinite()
        if counts.ndim == 4:
            counts = (counts / 20.0) ** 6
            counts[:, self.sequences.offsets[1:] - 1] = 0.0
        return {"counts": counts}

    def counts(self, statistics: Statistics) -> Tensor:
        return statistics["counts"]

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"counts": statistics["counts"][..., order, :][..., order]}

    def log_table(self, component: Transition) -> Tensor:
        table = component.log_potentials(self.sequences)
        return table if table.ndim == 3 else table.transpose(1, 2)


@dataclass(frozen=True, eq=False)
class DurationCase(Case):
    component: Duration
    residual: bool = False

    def started(self, seed: int) -> Duration:
        dwell = 1.5 + 6.0 * torch.rand((N_RESTARTS, N_STATES), generator=generator(seed), dtype=torch.float64)
        return self.component.initialise(dwell)

    def statistics(self, seed: int) -> Statistics:
        drawn = generator(seed)
        shape = (N_RESTARTS, N_STATES, self.component.max_duration + self.component.has_tail)
        duration, residual = (30.0 * torch.rand(shape, generator=drawn, dtype=torch.float64) for _ in range(2))
        stay, leave = (9.0 * torch.rand(shape[:2], generator=drawn, dtype=torch.float64) for _ in range(2))
        duration[..., : self.component.min_duration - 1] = 0.0
        scale = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)[:, None]
        return {
            "duration": scale[..., None] * duration,
            "residual": scale[..., None] * residual * self.residual,
            "tail_stay": scale * stay * self.component.has_tail,
            "tail_leave": scale * leave * self.component.has_tail,
        }

    def counts(self, statistics: Statistics) -> DurationCounts:
        return DurationCounts(**statistics)

    def expected(self, component: Duration, n_segments: float) -> Statistics:
        """The statistics of very many segments of this law, seen to their ends."""
        tables = component.log_potentials()
        duration = n_segments * tables.log_duration.exp()
        blank = torch.zeros_like(duration[..., 0])
        if tables.log_tail is None:
            return {"duration": duration, "residual": 0.0 * duration, "tail_stay": blank, "tail_leave": blank}
        leave = duration[..., -1]
        stay = leave * tables.log_tail.exp() / -torch.expm1(tables.log_tail)
        return {"duration": duration, "residual": 0.0 * duration, "tail_stay": stay, "tail_leave": leave}

    def log_likelihood(self, component: Duration, statistics: Statistics) -> Tensor:
        tables = component.log_potentials()
        value = weighted(statistics["duration"], tables.log_duration).sum((-1, -2))
        if tables.log_tail is not None:
            value = value + weighted(statistics["tail_stay"], tables.log_tail).sum(-1)
            value = value + weighted(statistics["tail_leave"], log_one_minus_exp(tables.log_tail)).sum(-1)
        law = equilibrium_residual(tables.log_duration, tables.log_tail)
        return value + weighted(statistics["residual"], law).sum((-1, -2))

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {name: value[:, order] for name, value in statistics.items()}

    def log_table(self, component: Duration) -> Tensor:
        tables = component.log_potentials()
        if tables.log_tail is None:
            return tables.log_duration
        return torch.cat([tables.log_duration, tables.log_tail[..., None]], -1)


@dataclass(frozen=True, eq=False)
class ContextualDurationCase(DurationCase):
    """Segments counted by the row they begin at; first residuals by series."""

    def started(self, seed: int) -> Duration:
        return super().started(seed).beside(self.sequences)

    def statistics(self, seed: int) -> Statistics:
        whole, drawn = super().statistics(seed), generator(seed)
        r, k, d = whole["duration"].shape
        of_row = torch.rand((r, N_ROWS, k, d), generator=drawn, dtype=torch.float64) ** 6
        of_series = torch.rand((r, 3, 1, 1), generator=drawn, dtype=torch.float64)
        by_row = whole["duration"].unsqueeze(1) * of_row
        return {**whole, "duration": by_row, "residual": whole["residual"].unsqueeze(1) * of_series}

    def expected(self, component: Duration, n_segments: float) -> Statistics:
        tables = component.log_potentials(self.sequences)
        stays = super().expected(component, n_segments * N_ROWS)
        duration = n_segments * tables.log_duration.exp()
        return {**stays, "duration": duration, "residual": torch.zeros_like(duration[:, :3])}

    def log_likelihood(self, component: Duration, statistics: Statistics) -> Tensor:
        tables = component.log_potentials(self.sequences)
        value, stay = weighted(statistics["duration"], tables.log_duration).sum((1, 2, 3)), None
        if tables.log_tail is not None:
            stay = tables.log_tail.unsqueeze(1)
            value = value + weighted(statistics["tail_stay"], tables.log_tail).sum(-1)
            value = value + weighted(statistics["tail_leave"], log_one_minus_exp(tables.log_tail)).sum(-1)
        law = equilibrium_residual(tables.log_duration[:, self.sequences.offsets[:-1]], stay)
        return value + weighted(statistics["residual"], law).sum((1, 2, 3))

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {name: x[..., order, :] if x.ndim == 4 else x[:, order] for name, x in statistics.items()}

    def log_table(self, component: Duration) -> Tensor:
        return component.log_potentials(self.sequences).log_duration.transpose(1, 2)


@dataclass(frozen=True, eq=False)
class EmissionCase(Case):
    component: Emission

    @property
    def is_complete(self) -> bool:
        return self.sequences.is_complete

    def columns(self) -> Sequence[Emission]:
        """The family of each feature."""
        return self.component.governing(self.sequences.n_features)

    def started(self, seed: int) -> Emission:
        labels = torch.randint(N_STATES, (N_RESTARTS, self.sequences.n_rows), generator=generator(seed))
        return self.component.initialise(self.sequences, labels, N_STATES)

    def statistics(self, seed: int) -> Statistics:
        shape = (N_RESTARTS, self.sequences.n_rows, N_STATES)
        return {"counts": normalised(torch.rand(shape, generator=generator(seed), dtype=torch.float64) ** 4)}

    def counts(self, statistics: Statistics) -> Tensor:
        return statistics["counts"]

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"counts": statistics["counts"][..., order]}

    def log_table(self, component: Emission) -> Tensor:
        return component.log_potentials(self.sequences).mT


def emission_cases() -> list[EmissionCase]:
    cases = []
    for label, component, given in _made("emission"):
        for missing in (0.0, 0.2) if given.missing else (0.0,):
            name = f"{label}-{'missing' if missing else 'complete'}"
            cases.append(EmissionCase(name, component, rows_of(component, missing), given.noise))
    return cases


def duration_cases() -> list[DurationCase]:
    return [
        (ContextualDurationCase if component.uses_covariates else DurationCase)(
            f"{label}-{residual=}", component, rows_beside_context(), given.noise, residual
        )
        for label, component, given in _made("duration")
        for residual in (False, True)
    ]


def rows_beside_context() -> Sequences:
    drawn = torch.randn((N_ROWS, 3), generator=generator(9), dtype=torch.float64)
    return rows_of().with_covariates(drawn * torch.tensor([1.0, 300.0, 0.0]) + 5.0)


def chain_cases() -> list[Case]:
    beside = rows_beside_context()
    kinds = {"initial": InitialCase, "transition": TransitionCase}
    return [kinds[kind](*made[:2], beside, made[2].noise) for kind in kinds for made in _made(kind)]


def all_cases() -> list[Case]:
    return [*chain_cases(), *duration_cases(), *emission_cases()]


def rows_of(component: Emission | None = None, missing: float = 0.0) -> Sequences:
    """Example rows of an emission in three series, a whole row and this share of the cells missing."""
    if component is None:
        return Sequences.from_arrays(torch.zeros(N_ROWS), lengths=[N_ROWS - 41, 40, 1])
    rows = component.example(N_ROWS, generator(7))
    gone = torch.rand(rows.values.shape, generator=generator(8)) < missing
    gone[5] |= missing > 0
    values = rows.values.masked_fill(gone, torch.nan)
    return Sequences.from_arrays(values, [N_ROWS - 41, 40, 1], rows.covariates)


def families_without_cases() -> list[str]:
    """What is wrong with the families that cannot be tried as they are registered."""
    found = []
    for kind, entry in KINDS.items():
        for name, family in entry.families.items() if kind != "context" else ():
            for given in _given(kind, name):
                try:
                    made = family(**given.options)
                    if kind == "emission":
                        made.example(3, generator(0))
                except (TypeError, AttributeError) as error:
                    beside = " (and state its support, or its own example)" * (kind == "emission")
                    found.append(
                        f"the {kind} {name!r} has no test, for it cannot be made ({error}): add options that make one "
                        f"to OPTIONS in tests/hsmm/components/options.py{beside}."
                    )
    return found


def _made(kind: str) -> list[tuple[str, Any, Given]]:
    """Label, component and options of every family of a kind that can be made."""
    found = []
    for name, family in KINDS[kind].families.items():
        for given in _given(kind, name):
            try:
                made = family(**given.options)
            except TypeError:
                continue  # test_every_family_has_cases names it
            if kind != "emission" or hasattr(made, "support") or type(made).example is not Emission.example:
                found.append((_label(name, given.options), made, given))
    return found


def _given(kind: str, name: str) -> list[Given]:
    return OPTIONS[kind].get(name, WITHOUT_ENTRY[kind])


def tied(component: Component) -> Component:
    """The component with shared coordinates made equal, where the family shares any."""
    shared, free = component.shared_axes(), component.free()
    if not shared:
        return component
    for name, axes in shared.items():
        for axis in axes:
            free[name] = free[name].mean(axis, keepdim=True).expand_as(free[name])
    return component.with_free(free)


def weighted(weights: Tensor, log_table: Tensor) -> Tensor:
    """weights · log_table, 0 where nothing was counted."""
    return torch.where(weights > 0, weights * log_table, 0.0)


def along_coordinates(component: Component, step: float) -> tuple[Component, Component]:
    """One model moved down and up along each of its free coordinates: two components with a restart for each."""
    free = {name: value[:1] for name, value in component.free().items()}
    flat = torch.cat([value.flatten() for value in free.values()])
    movable = flat.isfinite().nonzero().flatten()
    moves = step * torch.eye(len(flat), dtype=flat.dtype)[movable]

    def moved(sign: float) -> Component:
        rows = torch.where(flat.isfinite(), flat + sign * moves, flat)
        pieces = rows.split([value.numel() for value in free.values()], dim=1)
        shaped = {
            name: piece.reshape(len(rows), *value.shape[1:])
            for (name, value), piece in zip(free.items(), pieces, strict=True)
        }
        same = component.take(torch.zeros(len(rows), dtype=torch.int64))
        return tied(same.with_free(shaped))

    return moved(-1.0), moved(1.0)


def at_bound(component: Component) -> bool:
    """Whether a parameter of a single model lies at a bound, where its slope need not vanish."""
    for name, edges in component.bounds().items():
        value = component.parameters[name]
        if any(bool(((value - value.new_tensor(edge)).abs() < 1e-6).any()) for edge in edges):
            return True
    return False


def taken(statistics: Statistics, restarts: Tensor) -> Statistics:
    return {name: value[restarts] for name, value in statistics.items()}


def normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _label(name: str, options: dict[str, Any]) -> str:
    return "-".join([name, *(f"{key}={_short(value)}" for key, value in options.items())])


def _short(value: Any) -> str:
    return "..." if isinstance(value, (tuple, Component)) else str(value)
