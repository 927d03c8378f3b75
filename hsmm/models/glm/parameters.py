"""nemos' five arrays and our components."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from hsmm.components.emission.glm import GLM
from hsmm.components.initial import FreeInitial
from hsmm.components.model import Model
from hsmm.components.transition import Dense
from hsmm.trials import Columns

ATTRIBUTES = ("coef_", "intercept_", "scale_", "initial_prob_", "transition_prob_")
"""What a fit sets, and what a user may set to make a model of known parameters."""


class GLMHMMParams(NamedTuple):
    """The five arrays of a GLM-HMM, states on the last axis.

    ``coef`` (F, K), (F, Y, K) for a table of responses, or a dict of such; ``intercept`` and ``scale`` (K,) or (Y, K);
    ``initial_prob`` (K,); ``transition_prob`` (K, K). Coefficients and intercepts of categories have an axis for these
    before the last.
    """

    coef: Any
    intercept: np.ndarray
    scale: np.ndarray
    initial_prob: np.ndarray
    transition_prob: np.ndarray


class EMState(NamedTuple):
    """How EM stands. ``log_likelihood_history`` is the objective, log-likelihood and log-prior, which never falls."""

    data_log_likelihood: float
    previous_data_log_likelihood: float
    log_likelihood_history: np.ndarray
    iterations: int
    converged: bool


def checked_params(params: Any, n_states: int) -> GLMHMMParams:
    """The five arrays, if they are five and the chain is one of probabilities."""
    if not isinstance(params, (tuple, list)):
        raise TypeError(
            "GLMHMM params must be a tuple/list of length 5, (coef, intercept, scale, initial_prob, transition_prob); "
            f"found {type(params).__name__}."
        )
    if len(params) != 5:
        raise ValueError(
            f"Params must have length 5: (coef, intercept, scale, initial_prob, transition_prob); found {len(params)}."
        )
    coef, *rest = params
    try:
        arrays = [np.asarray(part, dtype=np.float64) for part in rest]
        coef = (
            {k: np.asarray(v, dtype=float) for k, v in coef.items()}
            if hasattr(coef, "items")
            else np.asarray(coef, float)
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"GLMHMM params hold what is not a number ({error}).") from None
    made = GLMHMMParams(coef, *arrays)
    k = n_states
    for name, array, shape in (
        ("initial_prob", made.initial_prob, (k,)),
        ("transition_prob", made.transition_prob, (k, k)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} must be of shape {shape}; found {array.shape}.")
        if not (np.isfinite(array).all() and (array >= 0).all() and np.abs(array.sum(-1) - 1.0).max() < 1e-6):
            raise ValueError(f"{name} must sum to 1 over its last axis; found {array.sum(-1).tolist()}.")
    return made


def as_emission(bare: GLM, params: GLMHMMParams, columns: Columns | None) -> GLM:
    """The emission of these arrays. Raises ``ValueError`` where their shapes do not fit each other."""
    coef = params.coef
    if columns is not None:
        if not hasattr(coef, "keys") or set(coef) != {name for name, _ in columns}:
            raise ValueError(f"coef must be a dict with the keys {', '.join(name for name, _ in columns)}, as X has.")
        coef = np.concatenate([np.asarray(coef[name], dtype=float) for name, _ in columns], 0)
    categories = bare.family == "categorical"
    coef = np.asarray(coef, dtype=float)
    coef = coef[:, None] if coef.ndim == 2 + categories else coef
    intercept, scale = np.asarray(params.intercept), np.asarray(params.scale)
    intercept = intercept[None] if intercept.ndim == 1 + categories else intercept
    scale = scale[None] if scale.ndim == 1 else scale
    k = len(params.initial_prob)
    responses = intercept.shape[0]
    axes = (4, 3) if categories else (3, 2)
    fits = (coef.ndim, intercept.ndim) == axes and coef.shape[-1] == intercept.shape[-1] == k
    if not fits or coef.shape[1:] != intercept.shape or scale.shape != (responses, k):
        raise ValueError(
            "Invalid parameter dimensionality: coef must be of shape (n_features, n_states), intercept and scale of "
            f"shape (n_states,), with an axis for responses before the last where y has several; found "
            f"{np.shape(params.coef)}, {params.intercept.shape} and {params.scale.shape} for {k} states."
        )
    moved = np.moveaxis(coef, -1, 0), np.moveaxis(intercept, -1, 0)
    tables = {"coef": moved[0], "intercept": moved[1], "scale": scale.T}
    made = bare.with_parameters(
        **bare.completed(
            {
                name: torch.from_numpy(np.ascontiguousarray(table, dtype=np.float64))[None]
                for name, table in tables.items()
            }
        )
    )
    made.check()
    return made


def as_model(structure: Model, params: GLMHMMParams, columns: Columns | None) -> Model:
    initial = torch.from_numpy(np.array(params.initial_prob, dtype=np.float64))[None]
    transition = torch.from_numpy(np.array(params.transition_prob, dtype=np.float64))[None]
    assert isinstance(structure.initial, FreeInitial)
    assert isinstance(structure.transition, Dense)
    assert isinstance(structure.emission, GLM)
    return Model(
        initial=structure.initial.with_parameters(probability=initial),
        transition=structure.transition.with_parameters(probability=transition),
        duration=None,
        emission=as_emission(structure.emission, params, columns),
    )


def as_params(model: Model, columns: Columns | None, *, single: bool) -> GLMHMMParams:
    """The arrays of the first of the models; ``single`` leaves out the axis of responses."""
    parts = model.emission.parameters
    coef, intercept, scale = (np.moveaxis(parts[name][0].numpy(), 0, -1) for name in ("coef", "intercept", "scale"))
    if single:
        coef, intercept, scale = coef[:, 0], intercept[0], scale[0]
    mirrored: Any = coef.copy()
    if columns is not None:
        edges = np.cumsum([width for _, width in columns])[:-1]
        mirrored = {name: part.copy() for (name, _), part in zip(columns, np.split(coef, edges), strict=True)}
    chain = model.initial.parameters["probability"][0], model.transition.parameters["probability"][0]
    return GLMHMMParams(mirrored, intercept.copy(), scale.copy(), chain[0].numpy().copy(), chain[1].numpy().copy())
