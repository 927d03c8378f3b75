"""How parameters are learnt: what ``trainer`` may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch

from hsmm.components.model import Model
from hsmm.spelling import Spelled, nearest
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.freezing import frozen_parts
from hsmm.training.gradient import adam, l_bfgs
from hsmm.training.objective import Objective

OPTIMISERS = ("adam", "lbfgs")
LAST_STEPS = 40
"""The most steps with which a climb by EM ends."""
_LAST_TOLERANCE = 0.01


@dataclass(frozen=True)
class Leg:
    """A stretch of a climb: at most ``max_iter`` iterations, fewer where they gain less than ``tol`` a row.

    ``accelerate`` allows leaps; ``is_last`` says that no round follows.
    """

    max_iter: int
    tol: float
    accelerate: bool
    is_last: bool = True

    def em(self, model: Model, objective: Objective) -> Fit:
        return expectation_maximisation(
            model, objective, max_iter=self.max_iter, tol=self.tol, accelerate=self.accelerate
        )


@dataclass(frozen=True)
class Trainer(Spelled, ABC):
    """Climbs an objective from many starts at once."""

    name: ClassVar[str]
    rounds: ClassVar[tuple[tuple[int, float], ...]] = ()
    """(iterations, share of restarts that goes on) of each round but the last."""
    moves_states: ClassVar[bool] = False
    """Whether states of the best may be split and merged, and climb on by EM."""
    takes_units: ClassVar[bool] = False
    """Whether its climbs may be of models that each see other series."""
    limit: ClassVar[str] = "max_iter"
    """The option that ends a climb which has not converged."""

    @abstractmethod
    def climb(self, model: Model, objective: Objective, leg: Leg) -> Fit:
        """Fits from the R starts of ``model``."""

    def finish(self, model: Model, objective: Objective, leg: Leg) -> Fit | None:  # noqa: ARG002 - most need none
        """The last steps of a climb that has converged, where this trainer's own are too short to reach the top."""
        return None

    def check(self, structure: Model, frozen: frozenset[str]) -> None:
        """Raise ``ValueError`` where it cannot keep what is frozen."""


@dataclass(frozen=True)
class EM(Trainer):
    """Expectation-maximisation; after its first round it leaps ahead where that climbs (SQUAREM).

    Its steps become short far from the top where states overlap; a few of L-BFGS finish the best restart, after states
    of it were split and merged as long as that led higher.
    """

    name: ClassVar[str] = "em"
    rounds: ClassVar = ((10, 0.5), (15, 0.5), (25, 0.5))
    moves_states: ClassVar = True
    takes_units: ClassVar[bool] = True

    def climb(self, model: Model, objective: Objective, leg: Leg) -> Fit:
        return leg.em(model, objective)

    def finish(self, model: Model, objective: Objective, leg: Leg) -> Fit | None:
        if not model.emission.is_smooth:
            return None
        return l_bfgs(model, objective, n_steps=min(leg.max_iter, LAST_STEPS), tol=leg.tol * _LAST_TOLERANCE)

    def check(self, structure: Model, frozen: frozenset[str]) -> None:
        for kind, part in structure.components().items():
            if beyond := frozen_parts(frozen, kind) - part.holdable:
                can = ", ".join(f"{kind}.{name}" for name in sorted(part.holdable)) or "only as a whole"
                raise ValueError(
                    f"EM cannot keep {kind}.{min(beyond)} of {part.name!r} while it improves the rest (it can: {can}); "
                    f"freeze {kind!r} as a whole, or use trainer='gradient', which can keep any part."
                )


@dataclass(frozen=True)
class Gradient(Trainer):
    """Gradient ascent on the exact marginal likelihood and log-prior, in coordinates without constraints.

    ``optimiser`` "adam" makes ``n_steps`` steps of size ``learning_rate`` and returns the last parameters; "lbfgs"
    makes at most ``n_steps`` and stops when they gain less than the model's ``tol``. The mode is that of the prior's
    density in the natural parameters (MAP without a Jacobian).
    """

    name: ClassVar[str] = "gradient"
    limit: ClassVar[str] = "the trainer's n_steps"

    optimiser: Literal["adam", "lbfgs"] = "adam"
    learning_rate: float = 0.05
    n_steps: int = 400

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise ValueError(
                f"optimiser is {self.optimiser!r}; expected one of {', '.join(OPTIMISERS)}"
                f"{nearest(self.optimiser, OPTIMISERS)}"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; expected a number > 0.")
        if not isinstance(self.n_steps, int) or self.n_steps < 1:
            raise ValueError(f"n_steps is {self.n_steps!r}; expected a whole number >= 1.")

    def climb(self, model: Model, objective: Objective, leg: Leg) -> Fit:
        if self.optimiser == "adam":
            return adam(model, objective, n_steps=self.n_steps, learning_rate=self.learning_rate)
        return l_bfgs(model, objective, n_steps=self.n_steps, tol=leg.tol)


@dataclass(frozen=True)
class Hybrid(EM):
    """EM until it has found its basin, then L-BFGS to the top."""

    name: ClassVar[str] = "hybrid"
    takes_units: ClassVar = False

    em_iterations: int = 50

    def climb(self, model: Model, objective: Objective, leg: Leg) -> Fit:
        if not leg.is_last or leg.max_iter <= self.em_iterations:
            return leg.em(model, objective)
        first = replace(leg, max_iter=self.em_iterations).em(model, objective)
        then = l_bfgs(first.model, objective, n_steps=leg.max_iter - self.em_iterations, tol=leg.tol)
        return replace(
            then,
            history=torch.cat([first.history, then.history[1:]]),
            n_iter=first.n_iter + then.n_iter,
            fall=torch.maximum(first.fall, then.fall),
        )


TRAINERS: dict[str, type[Trainer]] = {trainer.name: trainer for trainer in (EM, Gradient, Hybrid)}


def resolve_trainer(choice: Any) -> Trainer:
    """A trainer from its name, from what :func:`described` made of one, or from an object."""
    if isinstance(choice, Trainer):
        return choice
    options = dict(choice) if isinstance(choice, dict) else {"name": choice}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in TRAINERS:
        raise ValueError(
            f"trainer is {choice!r}; expected one of {', '.join(TRAINERS)}, or an object of hsmm.trainers"
            f"{nearest(name, TRAINERS)}"
        )
    return TRAINERS[name](**options)


def described(trainer: Trainer | str) -> str | dict[str, Any]:
    """A trainer as plain values."""
    return trainer if isinstance(trainer, str) else {"name": trainer.name, **asdict(trainer)}
