"""Information criteria, as values with a direction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

CriterionName = Literal["aic", "bic", "hqc", "icl", "held_out"]


@dataclass(frozen=True)
class Evidence:
    """What the criteria weigh.

    ``log_likelihood`` log p(y); ``log_joint`` log p(y, most probable segments); ``n_parameters`` free parameters;
    ``n_observations`` rows with an observed cell; ``held_out`` mean log-density of held-out rows in nats per row.
    """

    log_likelihood: float
    log_joint: float
    n_parameters: int
    n_observations: int
    held_out: float = math.nan


@dataclass(frozen=True)
class Criterion:
    """A score of a fitted candidate; ``best_is`` says which end wins."""

    score: Callable[[Evidence], float]
    best_is: Literal["lowest", "highest"] = "lowest"


CRITERIA: dict[str, Criterion] = {
    "aic": Criterion(lambda e: -2.0 * e.log_likelihood + 2.0 * e.n_parameters),
    "bic": Criterion(lambda e: -2.0 * e.log_likelihood + e.n_parameters * math.log(e.n_observations)),
    "hqc": Criterion(
        lambda e: -2.0 * e.log_likelihood + 2.0 * e.n_parameters * math.log(math.log(max(e.n_observations, 3)))
    ),
    "icl": Criterion(lambda e: -2.0 * e.log_joint + e.n_parameters * math.log(e.n_observations)),
    "held_out": Criterion(lambda e: e.held_out, best_is="highest"),
}
