"""Information criteria: scores of a fitted candidate, each a function under its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Score = Callable[["Evidence"], float]


@dataclass(frozen=True)
class Evidence:
    """What the criteria weigh.

    ``log_likelihood`` log p(y); ``log_joint`` log p(y, most probable segments); ``n_parameters`` free parameters;
    ``n_observations`` rows with an observed cell; ``held_out`` mean log-density of held-out rows in nats per row, NaN
    where the criterion does not ask for it.
    """

    log_likelihood: float
    log_joint: float
    n_parameters: int
    n_observations: int
    held_out: float = math.nan


@dataclass(frozen=True)
class Criterion:
    """A score of a fitted candidate.

    - ``best_is``: which end wins
    - ``counts_parameters``: whether it weighs their number, so that models where that says nothing of how closely they
      can follow the data (encoders) cannot be ranked by it
    - ``on_held_out``: whether it asks for rows held out, on which every candidate is then fitted once more a fold
    """

    score: Score
    best_is: Literal["lowest", "highest"] = "lowest"
    counts_parameters: bool = True
    on_held_out: bool = False


CRITERIA: dict[str, Criterion] = {}
"""By name, which is also the name of the column in every ranked table."""


def criterion(
    *, best_is: Literal["lowest", "highest"] = "lowest", counts_parameters: bool = True, on_held_out: bool = False
) -> Callable[[Score], Score]:
    """A decorator that makes a function of :class:`Evidence` a criterion under the function's name."""

    def enrolled(score: Score) -> Score:
        CRITERIA[score.__name__] = Criterion(score, best_is, counts_parameters, on_held_out)
        return score

    return enrolled


@criterion()
def aic(evidence: Evidence) -> float:
    """Akaike (1974)."""
    return -2.0 * evidence.log_likelihood + 2.0 * evidence.n_parameters


@criterion()
def bic(evidence: Evidence) -> float:
    """Schwarz (1978)."""
    return -2.0 * evidence.log_likelihood + evidence.n_parameters * math.log(evidence.n_observations)


@criterion()
def hqc(evidence: Evidence) -> float:
    """Hannan & Quinn (1979)."""
    slow = math.log(math.log(max(evidence.n_observations, 3)))
    return -2.0 * evidence.log_likelihood + 2.0 * evidence.n_parameters * slow


@criterion()
def icl(evidence: Evidence) -> float:
    """Integrated completed likelihood (Biernacki, Celeux & Govaert 2000)."""
    return -2.0 * evidence.log_joint + evidence.n_parameters * math.log(evidence.n_observations)


@criterion(best_is="highest", counts_parameters=False, on_held_out=True)
def held_out(evidence: Evidence) -> float:
    """Nats per row that no candidate was fitted on."""
    return evidence.held_out
