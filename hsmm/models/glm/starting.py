"""What the first start of a GLM-HMM is made of: five arrays from the initialisers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from hsmm.components.emission.glm import GLM
from hsmm.components.model import Model
from hsmm.models.glm.initialisers import CHAIN_SLOTS, GLM_SLOTS, Beginning, begun, checked
from hsmm.models.glm.parameters import GLMHMMParams, as_params, checked_params
from hsmm.sequences import Sequences
from hsmm.trials import Columns

Functions: TypeAlias = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]
"""Initialisers of the chain and of the regressions."""


@dataclass(frozen=True)
class Form:
    """``n_states``, the named ``columns`` of X if it is a dict, and whether y has a ``single`` dimension."""

    n_states: int
    columns: Columns | None
    single: bool


def begin(structure: Model, sequences: Sequences, form: Form, functions: Functions, seed: int) -> GLMHMMParams:
    """Five arrays from the initialisers."""
    offered = _beginning(structure, sequences, form, seed)
    made: dict[str, Any] = {}
    for given, slots in zip(functions, (CHAIN_SLOTS, GLM_SLOTS), strict=True):
        chosen = checked(given, slots)
        for slot in slots:
            made[slot] = begun(slot, chosen[slot], chosen[f"{slot}_kwargs"], offered)
    if not isinstance(made["glm_params_init"], (tuple, list)) or len(made["glm_params_init"]) != 2:
        raise ValueError("the function for glm_params_init must return a pair (coef, intercept).")
    coef, intercept = made["glm_params_init"]
    if form.columns is not None and not hasattr(coef, "keys"):
        edges = np.cumsum([width for _, width in form.columns])[:-1]
        coef = {name: part for (name, _), part in zip(form.columns, np.split(coef, edges), strict=True)}
    arrays = (coef, intercept, made["scale_init"], made["initial_proba_init"], made["transition_proba_init"])
    return checked_params(arrays, form.n_states)


def _beginning(structure: Model, sequences: Sequences, form: Form, seed: int) -> Beginning:
    k, single = form.n_states, form.single
    emission = structure.emission
    assert isinstance(emission, GLM)
    emission._check_responses(sequences)
    flat = emission._flat_start(sequences, 1, k)
    shapes = as_params(_with(structure, k, flat), None, single=single)

    def fit_clusters(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), k).to(torch.float64)[None]
        fitted = flat.maximise(sequences, own)
        arrays = as_params(_with(structure, k, fitted), None, single=single)
        return arrays.coef, arrays.intercept, arrays.scale

    starts = np.zeros(sequences.n_rows, dtype=bool)
    starts[sequences.offsets[:-1].numpy()] = True
    assert sequences.covariates is not None
    X: Any = sequences.covariates.numpy()
    if form.columns is not None:
        edges = np.cumsum([width for _, width in form.columns])[:-1]
        X = {name: part for (name, _), part in zip(form.columns, np.split(X, edges, axis=1), strict=True)}
    y = torch.where(sequences.observed, sequences.values, torch.nan).numpy()
    return Beginning(
        n_states=k,
        X=X,
        y=y[:, 0] if single else y,
        session_starts=starts,
        link=emission._link.mean,
        sequences=sequences,
        observation_model=str(emission.family),
        fit_clusters=fit_clusters,
        shapes={"coef": shapes.coef.shape, "intercept": shapes.intercept.shape, "scale": shapes.scale.shape},
        flat_intercept=shapes.intercept[..., 0],
        standard=tuple(flat.parameters[name][0, 0].numpy() for name in ("centre", "spread")),  # type: ignore[arg-type]
        seed=seed,
    )


def _with(structure: Model, k: int, emission: GLM) -> Model:
    initial = structure.initial.with_parameters(probability=torch.full((1, k), 1.0 / k, dtype=torch.float64))
    table = torch.full((1, k, k), 1.0 / k, dtype=torch.float64)
    transition = structure.transition.with_parameters(probability=table)
    return replace(structure, initial=initial, transition=transition, emission=emission)
