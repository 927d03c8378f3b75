"""The hidden Markov model within a GLM-HMM: how it climbs, how its states are numbered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from hsmm.components.model import Model
from hsmm.errors import ConvergenceWarning
from hsmm.models.hmm import HMM
from hsmm.training.em import Fit
from hsmm.training.objective import Objective
from hsmm.training.trainers import EM, Leg

_PLAIN_STEPS = 10


class NotConvergedWarning(ConvergenceWarning, RuntimeWarning):
    """EM made all its iterations without reaching its tolerance."""


@dataclass(frozen=True)
class PatientEM(EM):
    """EM that leaps ahead (SQUAREM) after its first steps also where a single start is climbed from, and only EM."""

    limit: ClassVar[str] = "maxiter"

    def finish(self, model: Model, objective: Objective, leg: Leg) -> Fit | None:  # noqa: ARG002
        return None

    def climb(self, model: Model, objective: Objective, leg: Leg) -> Fit:
        if leg.accelerate or not leg.is_last or leg.max_iter <= _PLAIN_STEPS:
            return leg.em(model, objective)
        first = replace(leg, max_iter=_PLAIN_STEPS).em(model, objective)
        if bool(first.converged.all()):
            return first
        then = replace(leg, max_iter=leg.max_iter - _PLAIN_STEPS, accelerate=True).em(first.model, objective)
        return replace(
            then,
            history=torch.cat([first.history, then.history[1:]]),
            n_iter=first.n_iter + then.n_iter,
            fall=torch.maximum(first.fall, then.fall),
        )


class Chain(HMM):
    """An HMM whose first start is given; its only one keeps the numbers of its states."""

    unconverged: ClassVar = NotConvergedWarning
    observes: ClassVar = "y"

    def _numbers_anew(self, model: Model, structure: Model, objective: Objective) -> bool:
        return self.n_init > 1 and super()._numbers_anew(model, structure, objective)
