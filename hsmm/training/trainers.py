"""How parameters are learnt: what ``trainer`` may be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from hsmm.components.model import Model
from hsmm.training.em import Fit, expectation_maximisation
from hsmm.training.objective import Objective


class Trainer(ABC):
    """Climbs an objective from many starts at once."""

    name: ClassVar[str]
    rounds: ClassVar[tuple[tuple[int, float], ...]] = ()
    """(iterations, share of restarts that goes on) of each round but the last."""

    @abstractmethod
    def climb(self, model: Model, *, objective: Objective, max_iter: int, tol: float, accelerate: bool) -> Fit:
        """Fits from the R starts of ``model``."""


@dataclass(frozen=True)
class EM(Trainer):
    """Expectation-maximisation; after its first round it leaps ahead where that climbs (SQUAREM)."""

    name: ClassVar[str] = "em"
    rounds: ClassVar = ((10, 0.5), (20, 0.5), (40, 0.5), (80, 0.5))

    def climb(self, model: Model, *, objective: Objective, max_iter: int, tol: float, accelerate: bool) -> Fit:
        return expectation_maximisation(model, objective, max_iter=max_iter, tol=tol, accelerate=accelerate)
