"""Every component family with every option, and the statistics its M-step learns from."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.duration import DURATIONS, Categorical, Duration, DurationCounts
from hsmm.components.emission import Emission, Gaussian, StudentT
from hsmm.components.emission.elliptical import Elliptical
from hsmm.numerics import log_one_minus_exp
from hsmm.potentials import equilibrium_residual
from hsmm.sequences import Sequences

N_RESTARTS, N_STATES, N_FEATURES, N_ROWS = 3, 3, 2, 150

ELLIPTICAL = {"gaussian": Gaussian, "student_t": StudentT}

Statistics = dict[str, Tensor]

ROWS = Sequences.from_arrays([0.0])
"""Given to tables that do not look at rows."""


@dataclass(frozen=True)
class Case(ABC):
    """A component, how to make random models of it, and what its M-step maximises."""

    name: str
    component: Component
    steps_to_optimum: int

    @abstractmethod
    def random(self, seed: int) -> Component:
        """Random models, a restart axis of ``N_RESTARTS``."""

    @abstractmethod
    def statistics(self, seed: int) -> Statistics:
        """Random statistics; the first axis is the restart."""

    @abstractmethod
    def maximise(self, component: Component, statistics: Statistics) -> Component: ...

    @abstractmethod
    def log_likelihood(self, component: Component, statistics: Statistics) -> Tensor:
        """(R,) the expected complete-data log-likelihood of the statistics."""

    @abstractmethod
    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics: ...

    @abstractmethod
    def log_table(self, component: Component) -> Tensor:
        """The component's tables side by side, (R, K, ...)."""

    def objective(self, component: Component, statistics: Statistics) -> Tensor:
        return self.log_likelihood(component, statistics) + component.log_prior()

    def optimum(self, component: Component, statistics: Statistics) -> Component:
        for _ in range(self.steps_to_optimum):
            component = self.maximise(component, statistics)
        return component

    def tied(self, component: Component) -> Component:
        """The component with shared coordinates made equal, where the family shares any."""
        return component


@dataclass(frozen=True)
class DurationCase(Case):
    residual: bool

    def random(self, seed: int) -> Duration:
        dwell = 1.5 + 6.0 * torch.rand((N_RESTARTS, N_STATES), generator=_generator(seed), dtype=torch.float64)
        made = self.component.initialise(dwell)
        if not isinstance(made, Categorical):
            return made
        weights = torch.rand(made.parameters["probability"].shape, generator=_generator(seed), dtype=torch.float64)
        weights[..., : made.min_duration - 1] = 0.0
        return made.with_parameters(probability=_normalised(weights))

    def statistics(self, seed: int) -> Statistics:
        generator = _generator(seed)
        n_columns = self.component.max_duration + self.component.has_tail
        shape = (N_RESTARTS, N_STATES, n_columns)
        duration, residual = (30.0 * torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        stay, leave = (9.0 * torch.rand(shape[:2], generator=generator, dtype=torch.float64) for _ in range(2))
        duration[..., : self.component.min_duration - 1] = 0.0
        scale = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)[:, None]
        return {
            "duration": scale[..., None] * duration,
            "residual": scale[..., None] * residual * self.residual,
            "tail_stay": scale * stay * self.component.has_tail,
            "tail_leave": scale * leave * self.component.has_tail,
        }

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

    def maximise(self, component: Duration, statistics: Statistics) -> Duration:
        return component.maximise(ROWS, DurationCounts(**statistics))

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


@dataclass(frozen=True)
class EmissionCase(Case):
    sequences: Sequences

    def random(self, seed: int) -> Emission:
        generator = _generator(seed)
        labels = torch.randint(N_STATES, (N_RESTARTS, self.sequences.n_rows), generator=generator)
        made = self.component.initialise(self.sequences, labels, N_STATES)
        if not isinstance(made, Elliptical):
            noise = {x: 0.3 * torch.randn(v.shape, generator=generator, dtype=v.dtype) for x, v in made.free().items()}
            return made.with_free({name: value + noise[name] for name, value in made.free().items()})
        mean = made.parameters["mean"]
        return made.with_parameters(mean=mean + torch.randn(mean.shape, generator=generator, dtype=mean.dtype))

    def statistics(self, seed: int) -> Statistics:
        weights = torch.rand(
            (N_RESTARTS, self.sequences.n_rows, N_STATES), generator=_generator(seed), dtype=torch.float64
        )
        return {"weights": _normalised(weights**4)}

    def maximise(self, component: Emission, statistics: Statistics) -> Emission:
        return component.maximise(self.sequences, statistics["weights"])

    def log_likelihood(self, component: Emission, statistics: Statistics) -> Tensor:
        return weighted(statistics["weights"], component.log_potentials(self.sequences)).sum((-1, -2))

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"weights": statistics["weights"][..., order]}

    def log_table(self, component: Emission) -> Tensor:
        return component.log_potentials(self.sequences).mT

    def tied(self, component: Emission) -> Emission:
        if not isinstance(component, Elliptical):
            return component
        covariance = component.parameters["covariance"]
        if component.covariance == "tied":
            return component.with_parameters(covariance=covariance[:, :1].expand_as(covariance))
        if component.covariance == "spherical":
            return component.with_parameters(covariance=covariance[..., :1].expand_as(covariance))
        return component


def weighted(weights: Tensor, log_table: Tensor) -> Tensor:
    """weights · log_table, 0 where nothing was counted."""
    return torch.where(weights > 0, weights * log_table, 0.0)


def along_coordinates(case: Case, component: Component, step: float) -> tuple[Component, Component]:
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
        return case.tied(same.with_free(shaped))

    return moved(-1.0), moved(1.0)


def odd_values(*, missing: float) -> Sequences:
    """Two clouds with outliers, on features of different size, in three series."""
    generator = _generator(7)
    values = torch.randn((N_ROWS, N_FEATURES), generator=generator, dtype=torch.float64)
    values = values * (1.0 + 4.0 * (torch.rand((N_ROWS, 1), generator=generator, dtype=torch.float64) > 0.9))
    values[: N_ROWS // 2] += 3.0
    values = values @ torch.tensor([[1.0, 0.5], [0.0, 20.0]], dtype=torch.float64)
    gone = torch.rand(values.shape, generator=generator) < missing
    if missing:
        gone[5] = True
    return Sequences.from_arrays(values.masked_fill(gone, torch.nan), lengths=[N_ROWS - 41, 40, 1])


def duration_cases() -> list[DurationCase]:
    cases = []
    for name, (shortest, longest), residual in itertools.product(
        DURATIONS, [(1, 1), (1, 2), (1, 8), (3, 3), (3, 8)], [False, True]
    ):
        sizes = {"min_duration": shortest, "max_duration": longest}
        options = [{"concentration": 1.0}, {"concentration": 1.5}] if name == "categorical" else [
            {"tail": True}, {"tail": False},
        ]  # fmt: skip
        for extra in options:
            made = DURATIONS[name](**sizes, **extra)
            closed = not residual and (name == "categorical" or (name == "geometric" and made.has_tail))
            label = _id(name, {**sizes, **extra, "residual": residual})
            cases.append(DurationCase(label, made, 1 if closed else 20, residual))
    return cases


def elliptical_cases() -> list[Case]:
    data = {"complete": odd_values(missing=0.0), "missing": odd_values(missing=0.2)}
    cases = []
    for name, covariance, kind in itertools.product(ELLIPTICAL, ["full", "diag", "tied", "spherical"], data):
        closed = name == "gaussian" and kind == "complete"
        component = ELLIPTICAL[name](covariance=covariance)
        cases.append(EmissionCase(f"{name}-{covariance}-{kind}", component, 1 if closed else 80, data[kind]))
    return cases


def all_cases() -> list[Case]:
    from tests.hsmm.components.chain_cases import chain_cases  # which imports from here
    from tests.hsmm.components.glm_cases import glm_cases

    return [*chain_cases(), *duration_cases(), *elliptical_cases(), *glm_cases()]


def taken(statistics: Statistics, restarts: Tensor) -> Statistics:
    return {name: value[restarts] for name, value in statistics.items()}


def _id(name: str, options: dict) -> str:
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
