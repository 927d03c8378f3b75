"""Whether other starts lead to the same model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from hsmm import inference
from hsmm.components.model import Model
from hsmm.errors import NotFittedError
from hsmm.metrics import adjusted_rand
from hsmm.selection.candidate import rows_for
from hsmm.sequences import Sequences
from hsmm.training.em import expectation_maximisation
from hsmm.training.first import first_models
from hsmm.training.objective import Objective

REACHED = 1e-3
"""Nats per observed row within which a restart has reached the best one."""


@dataclass(frozen=True, eq=False)
class Stability:
    """Fresh starts, each climbed to its end, beside a fitted model.

    - ``reached``: share of them within ``REACHED`` nats per observed row of the best of all
    - ``agreement``: mean adjusted Rand index of their decoded states with the model's
    - ``table``: ``objective`` and ``agreement`` of each
    """

    reached: float
    agreement: float
    table: pl.DataFrame


def stability(
    model: Any, X: Any, lengths: Any = None, *, context: Any = None, n_restarts: int = 8, max_iter: int = 300
) -> Stability:
    """Fit ``n_restarts`` more from starts as the fit draws them, none stopped early, and compare where they end.

    What the fit held frozen keeps its values, and components that were given with parameters begin with them. Costs
    more than the fit, in which the worse half of the restarts stops again and again.
    """
    if n_restarts < 1:
        raise ValueError(f"n_restarts is {n_restarts}; expected at least 1.")
    sequences = rows_for(model, Sequences.from_arrays(X, lengths, context)).in_canonical_order()
    tables = model._fitted_model()
    objective = Objective(sequences, frozen=model.frozen_names())
    first, kinds = _fresh_starts(model, objective, n_restarts)
    fit = expectation_maximisation(first, objective, max_iter=max_iter, tol=1e-7, accelerate=True)
    paths = inference.viterbi(fit.model.potentials(sequences)).states
    p = tables.potentials(sequences)
    own = float(inference.log_partition(p).sum() + tables.log_prior())
    states = inference.viterbi(p).states[0].numpy()
    agreement = np.array([adjusted_rand(states, path.numpy()) for path in paths])
    best = max(own, float(fit.objective.max()))
    reached = fit.objective >= best - REACHED * sequences.n_observed_rows
    table = pl.DataFrame({"start": kinds, "objective": fit.objective.numpy(), "agreement": agreement})
    return Stability(float(reached.double().mean()), float(agreement.mean()), table)


def _fresh_starts(model: Any, objective: Objective, n_restarts: int) -> tuple[Model, list[str]]:
    """The models of so many starts, and their kinds; what is frozen has the fitted values."""
    tables = model._fitted_model()
    bare = {kind: part.bare() for kind, part in tables.components().items()}
    given = {kind: part for kind, part in model._structure().components().items() if part.parameters}
    drawn = {"n_states": tables.transition.n_states, "seed": model.seed_ + 1}
    structure = replace(tables, **bare | given)
    if not objective.frozen:
        return first_models(structure, objective, n_init=n_restarts, **drawn)
    models, kinds = first_models(structure, objective, n_init=n_restarts + 1, start=tables, **drawn)
    return models.take(torch.arange(1, n_restarts + 1)), kinds[1:]


def share_that_reached(model: Any, sequences: Sequences) -> float:
    """Share of a fit's restarts within ``REACHED`` nats per observed row of the best when they ended.

    Those that were stopped early count with what they had: a lower bound.
    """
    try:
        objective = torch.from_numpy(model.restarts_["objective"].to_numpy().copy())
    except NotFittedError:
        return math.nan
    reached = objective >= float(objective.nan_to_num(-torch.inf).max()) - REACHED * sequences.n_observed_rows
    return float(reached.double().mean())
