"""How a GLM-HMM begins: initialisers by name, or functions of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsmm.components.emission.glm.links import inverse_link
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.training.starts import k_means

CHAIN_ARGUMENTS = ("n_states", "X", "y", "session_starts", "random_key")
GLM_ARGUMENTS = (*CHAIN_ARGUMENTS, "inverse_link_function")
OPTIONAL_ARGUMENTS = ("observation_model",)
CHAIN_SLOTS = ("initial_proba_init", "transition_proba_init")
GLM_SLOTS = ("glm_params_init", "scale_init")
DEFAULTS = {
    "initial_proba_init": "uniform",
    "transition_proba_init": "sticky",
    "glm_params_init": "random",
    "scale_init": "constant",
}


@dataclass(frozen=True, eq=False)
class Beginning:
    """What initialisers may look at.

    ``X`` (N, F) or a dict, ``y`` (N,) or (N, Y), ``session_starts`` (N,) booleans; ``fit_clusters`` gives coefficients,
    intercepts and scales of one model for each label of (N,). ``standard``: centre and spread (F,) of covariates.
    """

    n_states: int
    X: Any
    y: np.ndarray
    session_starts: np.ndarray
    link: Callable[[torch.Tensor], torch.Tensor]
    sequences: Sequences
    observation_model: str
    fit_clusters: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
    shapes: Mapping[str, tuple[int, ...]]
    flat_intercept: np.ndarray
    standard: tuple[np.ndarray, np.ndarray]
    seed: int

    def generator(self, slot: str) -> np.random.Generator:
        """A stream of its own for each slot."""
        return np.random.default_rng([self.seed, sorted(DEFAULTS).index(slot)])

    def clusters(self) -> np.ndarray:
        """(N,) labels, the same for every slot. Raises ``ValueError`` where a cluster is empty."""
        assert self.sequences.covariates is not None
        points = torch.cat([self.sequences.covariates, self.sequences.values], 1)
        spread = points.std(0, unbiased=False)
        points = (points - points.mean(0)) / torch.where(spread > 0, spread, 1.0)
        labels = k_means(points, self.n_states, [torch.Generator().manual_seed(self.seed)])[0].numpy()
        if len(np.unique(labels)) < self.n_states:
            raise ValueError(f"kmeans found fewer than {self.n_states} clusters; choose another initialiser.")
        return labels


def uniform_initial(begin: Beginning, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    return np.full(begin.n_states, 1.0 / begin.n_states)


def random_initial(begin: Beginning, rng: np.random.Generator) -> np.ndarray:
    return _normalised(rng.uniform(size=begin.n_states))


def dirichlet_initial(begin: Beginning, rng: np.random.Generator, alphas: Any = 1.0) -> np.ndarray:
    return rng.dirichlet(np.broadcast_to(np.asarray(alphas, dtype=float), (begin.n_states,)))


def kmeans_initial(begin: Beginning, rng: np.random.Generator, minimum_prob: float = 0.02) -> np.ndarray:  # noqa: ARG001
    first = begin.clusters()[begin.session_starts]
    return _floored(np.bincount(first, minlength=begin.n_states).astype(float), minimum_prob)


def sticky_transition(begin: Beginning, rng: np.random.Generator, prob_stay: float = 0.95) -> np.ndarray:  # noqa: ARG001
    k = begin.n_states
    if k == 1:
        return np.ones((1, 1))
    return np.full((k, k), (1.0 - prob_stay) / (k - 1)) + np.eye(k) * (prob_stay - (1.0 - prob_stay) / (k - 1))


def uniform_transition(begin: Beginning, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    return np.full((begin.n_states, begin.n_states), 1.0 / begin.n_states)


def random_transition(begin: Beginning, rng: np.random.Generator) -> np.ndarray:
    return _normalised(rng.uniform(size=(begin.n_states, begin.n_states)))


def dirichlet_transition(begin: Beginning, rng: np.random.Generator, alphas: Any = 1.0) -> np.ndarray:
    k = begin.n_states
    return np.stack([rng.dirichlet(row) for row in np.broadcast_to(np.asarray(alphas, dtype=float), (k, k))])


def kmeans_transition(begin: Beginning, rng: np.random.Generator, minimum_prob: float = 0.02) -> np.ndarray:  # noqa: ARG001
    labels, k = begin.clusters(), begin.n_states
    within = ~begin.session_starts[1:]
    counts = np.zeros((k, k))
    np.add.at(counts, (labels[:-1][within], labels[1:][within]), 1.0)
    return _floored(counts, minimum_prob)


def random_glm(begin: Beginning, rng: np.random.Generator, std_dev: float = 0.001) -> tuple[np.ndarray, np.ndarray]:
    """Small coefficients of standardised covariates, and the mean response at their mean."""
    intercept = np.broadcast_to(begin.flat_intercept[..., None], begin.shapes["intercept"])
    shape, (centre, spread) = begin.shapes["coef"], begin.standard
    drawn = (std_dev * rng.normal(size=shape).reshape(len(spread), -1) / spread[:, None]).reshape(shape)
    return drawn, intercept - np.tensordot(centre, drawn, 1)


def kmeans_glm(begin: Beginning, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
    """One model for each cluster."""
    coef, intercept, _ = begin.fit_clusters(begin.clusters())
    return coef, intercept


def constant_scale(begin: Beginning, rng: np.random.Generator, value: float = 1.0) -> np.ndarray:  # noqa: ARG001
    return np.full(begin.shapes["scale"], float(value))


def kmeans_scale(begin: Beginning, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    return begin.fit_clusters(begin.clusters())[2]


BUILT_IN: dict[str, dict[str, Callable[..., Any]]] = {
    "initial_proba_init": {
        "uniform": uniform_initial,
        "random": random_initial,
        "dirichlet": dirichlet_initial,
        "kmeans": kmeans_initial,
    },
    "transition_proba_init": {
        "sticky": sticky_transition,
        "uniform": uniform_transition,
        "random": random_transition,
        "dirichlet": dirichlet_transition,
        "kmeans": kmeans_transition,
    },
    "glm_params_init": {"random": random_glm, "kmeans": kmeans_glm},
    "scale_init": {"constant": constant_scale, "kmeans": kmeans_scale},
}


def checked(functions: Mapping[str, Any] | None, slots: tuple[str, ...]) -> dict[str, Any]:
    """The choices of these slots with the defaults; entries are ``slot`` and ``slot_kwargs``.

    Raises ``KeyError`` for an unknown entry, ``ValueError`` for an initialiser or arguments that do not fit.
    """
    given = dict(functions or {})
    known = [*slots, *(f"{slot}_kwargs" for slot in slots)]
    for name in given:
        if name not in known:
            raise KeyError(
                f"unknown initialiser entry {name!r}{nearest(name, known)} Expected some of {', '.join(known)}."
            )
    made: dict[str, Any] = {}
    for slot in slots:
        chosen = given.get(slot)
        made[slot] = DEFAULTS[slot] if chosen is None else chosen
        made[f"{slot}_kwargs"] = dict(given.get(f"{slot}_kwargs") or {})
        _check(slot, made[slot], made[f"{slot}_kwargs"])
    return made


def begun(slot: str, choice: Any, options: Mapping[str, Any], begin: Beginning) -> Any:
    """What the initialiser of this slot makes."""
    rng = begin.generator(slot)
    if isinstance(choice, str):
        return BUILT_IN[slot][choice](begin, rng, **options)

    def link(predictor: Any) -> np.ndarray:
        return begin.link(torch.as_tensor(np.asarray(predictor, dtype=float))).numpy()

    offered = {
        "n_states": begin.n_states,
        "X": begin.X,
        "y": begin.y,
        "session_starts": begin.session_starts,
        "random_key": rng,
        "inverse_link_function": link,
        "observation_model": begin.observation_model,
    }
    wanted = CHAIN_ARGUMENTS if slot in CHAIN_SLOTS else GLM_ARGUMENTS
    asked = inspect.signature(choice).parameters
    optional = [name for name in (*OPTIONAL_ARGUMENTS, "inverse_link_function") if name in asked]
    return choice(**{name: offered[name] for name in {*wanted, *optional}}, **options)


def _check(slot: str, choice: Any, options: Mapping[str, Any]) -> None:
    if callable(choice):
        parameters = inspect.signature(choice).parameters
        wanted = CHAIN_ARGUMENTS if slot in CHAIN_SLOTS else GLM_ARGUMENTS
        flexible = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        missing = [] if flexible else [name for name in wanted if name not in parameters]
        if missing:
            raise ValueError(
                f"the function for {slot} does not take {', '.join(missing)}; expected all of {', '.join(wanted)}."
            )
        allowed = [] if not flexible else list(options)
        allowed += [name for name in parameters if name not in (*GLM_ARGUMENTS, *OPTIONAL_ARGUMENTS)]
    else:
        if not isinstance(choice, str) or choice not in BUILT_IN[slot]:
            raise ValueError(
                f"{slot} is {choice!r}; expected one of {', '.join(BUILT_IN[slot])}, or a function"
                f"{nearest(choice, BUILT_IN[slot])}"
            )
        allowed = list(inspect.signature(BUILT_IN[slot][choice]).parameters)[2:]
    if unknown := [name for name in options if name not in allowed]:
        raise ValueError(
            f"{slot}_kwargs has {', '.join(unknown)}; {choice!r} takes {', '.join(allowed) or 'no arguments'}."
        )


def link_function(choice: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return inverse_link(choice).mean


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(-1, keepdims=True)


def _floored(counts: np.ndarray, minimum: float) -> np.ndarray:
    total = counts.sum(-1, keepdims=True)
    shares = np.where(total > 0, counts / np.maximum(total, 1.0), 1.0 / counts.shape[-1])
    return _normalised(np.maximum(shares, minimum))
