"""The laws of the first state and of the next, as contract cases."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.initial import INITIALS, Initial
from hsmm.components.transition import TRANSITIONS, Transition
from hsmm.sequences import Sequences
from tests.hsmm.components.cases import N_RESTARTS, N_STATES, ROWS, Case, Statistics, odd_values, weighted

MASK = ((True, True, False), (True, False, True), (True, True, True))
CONCENTRATIONS = ((1.5, 1.0, 0.9), (2.0, 1.0, 3.0), (1.0, 1.2, 0.9))


@dataclass(frozen=True)
class InitialCase(Case):
    def random(self, seed: int) -> Initial:
        weights = torch.rand((N_RESTARTS, N_STATES), generator=generator(seed), dtype=torch.float64)
        made = self.component.initialise(N_RESTARTS, N_STATES)
        return made.with_parameters(probability=normalised(weights)) if made.constraints() else made

    def statistics(self, seed: int) -> Statistics:
        return {"counts": 9.0 * torch.rand((N_RESTARTS, N_STATES), generator=generator(seed), dtype=torch.float64)}

    def maximise(self, component: Initial, statistics: Statistics) -> Initial:
        return component.maximise(ROWS, statistics["counts"])

    def log_likelihood(self, component: Initial, statistics: Statistics) -> Tensor:
        return weighted(statistics["counts"], component.log_potentials()).sum(-1)

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"counts": statistics["counts"][:, order]}

    def log_table(self, component: Initial) -> Tensor:
        return component.log_potentials()


@dataclass(frozen=True)
class TransitionCase(Case):
    sequences: Sequences

    def random(self, seed: int) -> Transition:
        weights = torch.rand((N_RESTARTS, N_STATES, N_STATES), generator=generator(seed), dtype=torch.float64)
        return self.component.with_parameters(probability=normalised(self._allowed(weights)))

    def statistics(self, seed: int) -> Statistics:
        counts = torch.rand((N_RESTARTS, N_STATES, N_STATES), generator=generator(seed), dtype=torch.float64)
        return {"counts": 20.0 * self._allowed(counts)}

    def maximise(self, component: Transition, statistics: Statistics) -> Transition:
        return component.maximise(self.sequences, statistics["counts"])

    def log_likelihood(self, component: Transition, statistics: Statistics) -> Tensor:
        return weighted(statistics["counts"], component.log_potentials(self.sequences)).sum((-1, -2))

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"counts": statistics["counts"][:, order][:, :, order]}

    def log_table(self, component: Transition) -> Tensor:
        return component.log_potentials()

    def _allowed(self, weights: Tensor) -> Tensor:
        return weights * self.component.possible(N_STATES)


@dataclass(frozen=True)
class ContextualCase(TransitionCase):
    def random(self, seed: int) -> Transition:
        dwell = 1.5 + 4.0 * torch.rand((N_RESTARTS, N_STATES), generator=generator(seed), dtype=torch.float64)
        made = self.component.initialise(self.sequences, dwell, generator(seed))
        noise = {name: torch.randn(x.shape, generator=generator(seed + 1)).double() for name, x in made.free().items()}
        return made.with_free({name: x + 0.5 * noise[name] for name, x in made.free().items()})

    def statistics(self, seed: int) -> Statistics:
        shape = (N_RESTARTS, self.sequences.n_rows, N_STATES, N_STATES)
        counts = torch.rand(shape, generator=generator(seed), dtype=torch.float64) ** 6
        counts[:, self.sequences.offsets[1:] - 1] = 0.0
        stays = torch.eye(N_STATES, dtype=torch.bool)
        return {"counts": counts if self.component.self_transitions else counts.masked_fill(stays, 0.0)}

    def log_likelihood(self, component: Transition, statistics: Statistics) -> Tensor:
        return weighted(statistics["counts"], component.log_potentials(self.sequences)).sum((1, 2, 3))

    def permuted(self, statistics: Statistics, order: Tensor) -> Statistics:
        return {"counts": statistics["counts"][:, :, order][..., order]}

    def log_table(self, component: Transition) -> Tensor:
        return component.log_potentials(self.sequences).transpose(1, 2)


def initial_cases() -> list[Case]:
    options = {
        "free": [{}, {"concentration": 2.5}, {"concentration": 0.9}, {"concentration": (0.9, 1.0, 3.0)}],
        "uniform": [{}],
        "stationary": [{}],
        "fixed": [{"probability": (0.2, 0.5, 0.3)}],
    }
    return [InitialCase(label(name, o), INITIALS[name](**o), 1) for name in INITIALS for o in options[name]]


def transition_cases() -> list[Case]:
    priors: list[dict] = [{"concentration": prior} for prior in (1.0, 2.0, 0.9, CONCENTRATIONS)]
    options = {
        "dense": priors,
        "sticky": [{}, {"kappa": 3.0, "concentration": 0.9}],
        "masked": [{"allowed": MASK, **prior} for prior in priors],
        "left_to_right": [*priors, {"max_step": 1}],
    }
    data = odd_values(missing=0.0)
    cases = []
    for name in options:
        for stays in (True,) if name == "sticky" else (False, True):
            for o in options[name]:
                made = TRANSITIONS[name](self_transitions=stays, **o)
                cases.append(TransitionCase(label(name, {"self_transitions": stays, **o}), made, 1, data))
    return cases


def with_context() -> Sequences:
    """Covariates of different size, the last one constant."""
    data = odd_values(missing=0.0)
    drawn = torch.randn((data.n_rows, 3), generator=generator(9), dtype=torch.float64)
    return data.with_covariates(drawn * torch.tensor([1.0, 300.0, 0.0]) + 5.0)


def contextual_cases() -> list[Case]:
    data = with_context()
    cases: list[Case] = []
    for stays in (False, True):
        for o in ({}, {"penalty": 2.0}, {"columns": (1, 2)}):
            made = TRANSITIONS["contextual"](self_transitions=stays, **o)
            cases.append(ContextualCase(label("contextual", {"self_transitions": stays, **o}), made, 15, data))
    return cases


def chain_cases() -> list[Case]:
    return [*initial_cases(), *transition_cases(), *contextual_cases()]


def label(name: str, options: dict) -> str:
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


def normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
