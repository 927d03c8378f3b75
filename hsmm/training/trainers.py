"""How parameters are learnt: what ``trainer`` may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hsmm.components.context.base import check_whole
from hsmm.components.model import Model
from hsmm.components.transition import Neural
from hsmm.inference import log_partition
from hsmm.spelling import Spelled, nearest
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.freezing import frozen_parts
from hsmm.training.gradient import adam, l_bfgs
from hsmm.training.guide import Guided
from hsmm.training.held_back import Judge, Learnt, Looks, held_back, stopped_early
from hsmm.training.objective import Objective
from hsmm.training.variational import RELAXATIONS, GuidedWalk, Paths, Relaxation
from hsmm.training.walk import SCHEDULES, Schedule, Stride, Walk

OPTIMISERS = ("adam", "lbfgs")
LAST_STEPS = 40
"""The most steps with which a climb by EM ends."""
_LAST_TOLERANCE = 0.01
_HELD_OUT, _PATIENCE = 0.2, 6
_LOOK = 5  # iterations
_DECAY, _MAX_NORM = 0.01, 50.0
_STILL = 1e-3  # nats per observed row that a last look may gain, where steps have become short


@dataclass(frozen=True)
class Leg:
    """A stretch of a climb: at most ``max_iter`` iterations, fewer where they gain less than ``tol`` a row.

    ``accelerate`` allows leaps; ``is_last`` says that no round follows. Where models that climb side by side have
    different ``limits``, that is how many iterations each has.
    """

    max_iter: int
    tol: float
    accelerate: bool
    is_last: bool = True
    limits: tuple[int, ...] | None = None

    @classmethod
    def rest(cls, max_iter: int, tol: float) -> Leg:
        """To the end of a climb that has so many iterations left, whatever others have."""
        return cls(max_iter, tol, accelerate=True, limits=(max_iter,))

    def em(self, model: Model, objective: Objective) -> Fit:
        return expectation_maximisation(
            model, objective, max_iter=self.max_iter, tol=self.tol, accelerate=self.accelerate, limits=self.limits
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

    @property
    def held_back_share(self) -> float:
        """Of the rows, while a model with an encoder is learnt, which could follow any."""
        return _HELD_OUT

    def learn(self, model: Model, seen: Objective, judge: Judge, leg: Leg, seed: int) -> Learnt:  # noqa: ARG002
        """What becomes of models on the rows ``seen``, each as it was where it foretold those held back best."""

        def advance(model: Model) -> tuple[Model, Tensor, int]:
            fit = self.climb(model, seen, replace(leg, max_iter=min(_LOOK, leg.max_iter), tol=0.0, accelerate=False))
            return fit.model, fit.objective, int(fit.n_iter.max())

        n_looks = -(-leg.max_iter // _LOOK)
        return stopped_early(model, advance, judge, n_looks, _PATIENCE, leg.tol * seen.n_observations)


@dataclass(frozen=True)
class EM(Trainer):
    """Expectation-maximisation; after its first round it leaps ahead where that climbs (SQUAREM).

    States of the best restart are split and merged as long as that leads higher, all by a looser tolerance. Then it
    climbs on by its own; and since EM's steps become short far from the top, a few of L-BFGS finish it.
    """

    name: ClassVar[str] = "em"
    rounds: ClassVar = ((6, 0.25), (15, 0.34))
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

    def learn(self, model: Model, seen: Objective, judge: Judge, leg: Leg, seed: int) -> Learnt:
        if self.optimiser == "adam":
            walker = AdamW(
                learning_rate=self.learning_rate, n_steps=self.n_steps, weight_decay=0.0, schedule="constant"
            )
            return walker.learn(model, seen, judge, leg, seed)
        short = replace(self, n_steps=min(_LOOK, self.n_steps))
        return Trainer.learn(short, model, seen, judge, replace(leg, max_iter=self.n_steps), seed)


@dataclass(frozen=True)
class AdamW(Trainer):
    """AdamW on the exact marginal likelihood and log-prior, over minibatches of series; stopped early.

    Each of ``n_steps`` steps takes ``batch`` series (None: all), cuts a restart's gradient to ``max_norm``, and moves
    by ``learning_rate``, which follows the ``schedule``, "constant", "cosine" or "one_cycle"; an encoder's weights
    shrink by ``weight_decay``. Emissions begin at ``temperature`` >= 1 and are at 1 from the middle on, as they are
    wherever anything is scored. Each ``every`` steps a share ``held_out`` of the rows, which it does not learn from, is
    foretold, and each restart is returned as it was where that went best, once ``patience`` looks were no better. In
    the folder ``checkpoint`` a fit that was broken off is gone on with.
    """

    name: ClassVar[str] = "adamw"
    limit: ClassVar[str] = "the trainer's n_steps"

    learning_rate: float = 0.02
    n_steps: int = 400
    weight_decay: float = _DECAY
    batch: int | None = None
    max_norm: float = _MAX_NORM
    schedule: Schedule = "cosine"
    temperature: float = 1.0
    held_out: float = _HELD_OUT
    every: int = 10
    patience: int = _PATIENCE
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        for name in ("n_steps", "every", "patience", *(["batch"] if self.batch is not None else [])):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number >= 1.")
        for name, least in (("learning_rate", 0.0), ("max_norm", 0.0)):
            if not getattr(self, name) > least:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a number > 0.")
        if not self.weight_decay >= 0.0:
            raise ValueError(f"weight_decay is {self.weight_decay!r}; expected a number >= 0.")
        if not self.temperature >= 1.0:
            raise ValueError(f"temperature is {self.temperature!r}; expected a number >= 1 (1 does not anneal).")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"held_out is {self.held_out!r}; expected a share between 0 and 1.")
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ValueError(
                f"schedule is {self.schedule!r}; expected one of {known}{nearest(self.schedule, SCHEDULES)}"
            )

    def climb(self, model: Model, objective: Objective, leg: Leg) -> Fit:
        seen, judge = held_back(objective, self.held_out)
        return fit_of(self.learn(model, seen, judge, leg, 0), objective)

    @property
    def held_back_share(self) -> float:
        return self.held_out

    def learn(self, model: Model, seen: Objective, judge: Judge, leg: Leg, seed: int) -> Learnt:
        walk = self._walk(model, seen, seed)
        path = None if self.checkpoint is None else Path(self.checkpoint) / f"walk-{seed}.safetensors"
        looks = walk.resumed(path) if path is not None and path.exists() else None

        def advance(_: Model) -> tuple[Model, Tensor, int]:
            n_more = min(self.every, self.n_steps - walk.step)
            return *walk.advance(n_more), n_more

        def keep(looks: Looks) -> None:
            if path is not None:
                walk.save(path, looks)

        n_looks, tol = -(-self.n_steps // self.every), leg.tol * seen.n_observations
        learnt = stopped_early(walk.model(), advance, judge, n_looks, self.patience, tol, looks, keep)
        if self.schedule == "constant" or walk.step < self.n_steps or len(learnt.curve) < 2:
            return learnt
        still = learnt.curve[-1] - learnt.curve[-2] < _STILL * seen.n_observations
        return replace(learnt, settled=learnt.settled | still)  # its steps have shrunk to nothing

    def _walk(self, model: Model, seen: Objective, seed: int) -> Walk:
        return Walk(model, seen, self._stride(), seed)

    def _stride(self) -> Stride:
        return Stride(
            self.n_steps, self.learning_rate, self.weight_decay, self.max_norm, self.batch, self.schedule,
            self.temperature,
        )  # fmt: skip


@dataclass(frozen=True)
class Variational(AdamW):
    """AdamW on a lower bound of the likelihood, along paths of states drawn from a guide that is learnt as well.

    The guide is a chain that reads a bidirectional GRU of ``guide_hidden`` units of the whole series. ``relaxation``
    says what it draws: "soft", mixed states; "straight_through", states with the slope of mixed ones; "hard", states
    without a slope. Mixed states are drawn at temperatures that fall from ``gumbel`` to ``least_gumbel``, and the
    divergence of the guide from the model weighs ``first_weight`` at first and 1 from the middle on.

    Transitions must be neural. What is held back is foretold by the exact likelihood, as all questions are answered.
    """

    name: ClassVar[str] = "variational"

    guide_hidden: int = 32
    relaxation: Relaxation = "straight_through"
    gumbel: float = 1.0
    least_gumbel: float = 0.3
    first_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("guide_hidden", self.guide_hidden)
        if self.relaxation not in RELAXATIONS:
            raise ValueError(
                f"relaxation is {self.relaxation!r}; expected one of {', '.join(RELAXATIONS)}"
                f"{nearest(self.relaxation, RELAXATIONS)}"
            )
        if not 0.0 < self.least_gumbel <= self.gumbel:
            raise ValueError(
                f"gumbel is {self.gumbel!r} and least_gumbel {self.least_gumbel!r}; expected temperatures > 0 that "
                "fall."
            )
        if not 0.0 <= self.first_weight <= 1.0:
            raise ValueError(f"first_weight is {self.first_weight!r}; expected a weight between 0 and 1.")

    def check(self, structure: Model, frozen: frozenset[str]) -> None:
        super().check(structure, frozen)
        if not isinstance(structure.transition, Neural) or structure.duration is not None:
            raise ValueError(
                f"trainer is 'variational', but transitions are {structure.transition.name!r}"
                f"{'' if structure.duration is None else ' beside durations'}; its paths are of neural transitions "
                "without durations, as in hsmm.DSSM. Choose trainer='adamw'."
            )

    def learn(self, model: Model, seen: Objective, judge: Judge, leg: Leg, seed: int) -> Learnt:
        if seen.states is not None:
            raise ValueError("states are given, but variational training draws them; choose the exact likelihood.")
        guided = Guided.beginning(model, seen.sequences, self.guide_hidden, seed)
        return super().learn(guided, seen, judge, leg, seed)

    def _walk(self, model: Model, seen: Objective, seed: int) -> Walk:
        paths = Paths(self.relaxation, self.gumbel, self.least_gumbel, self.first_weight)
        return GuidedWalk(model, seen, self._stride(), seed, paths=paths)


@dataclass(frozen=True)
class Hybrid(EM):
    """EM until it has found its basin, then L-BFGS to the top; with an encoder, turns of EM and of Adam."""

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

    def learn(self, model: Model, seen: Objective, judge: Judge, leg: Leg, seed: int) -> Learnt:
        walk = Walk(model, seen, AdamW(n_steps=max(leg.max_iter, 1), schedule="constant")._stride(), seed)

        def advance(model: Model) -> tuple[Model, Tensor, int]:
            fit = replace(leg, max_iter=_LOOK, tol=0.0, accelerate=False).em(model, seen)
            walk.restart_at(fit.model)
            found, reached = walk.advance(_LOOK)
            return found, reached, 2 * _LOOK

        n_looks = -(-leg.max_iter // (2 * _LOOK))
        return stopped_early(model, advance, judge, n_looks, _PATIENCE, leg.tol * seen.n_observations)


TRAINERS: dict[str, type[Trainer]] = {trainer.name: trainer for trainer in (EM, Gradient, Hybrid, AdamW, Variational)}


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


def fit_of(learnt: Learnt, objective: Objective) -> Fit:
    """The same models beside all that is known of them on all rows."""
    reached = objective.total(log_partition(objective.potentials(learnt.model)))
    last = reached + learnt.model.log_prior()
    return Fit(
        learnt.model, reached, last, torch.cat([learnt.history, last[None]]), learnt.n_iter, learnt.settled,
        torch.zeros_like(last),
    )  # fmt: skip
