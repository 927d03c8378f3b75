"""Work g: a GLM-HMM to be fitted from a given start to a given tolerance. NumPy only, because peers read this file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.works import Array


@dataclass(frozen=True)
class Regression:
    """Responses ``y`` (N,) of 0 and 1 to covariates ``X`` (N, F), and where to start from.

    ``coef`` (F, K), ``intercept`` (K,), ``initial`` (K,), ``transition`` (K, K); a ridge penalty of 1 on the
    coefficients. A fit ends when an iteration gains less than ``tol`` nats per row.
    """

    X: Array
    y: Array
    coef: Array
    intercept: Array
    initial: Array
    transition: Array
    tol: float = 1e-8
    max_iter: int = 1000

    def save(self, path: Path) -> None:
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Regression:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files if stored[name].ndim}
            return cls(**arrays, tol=float(stored["tol"]), max_iter=int(stored["max_iter"]))


def make_regression(n_steps: int = 10_000, n_states: int = 3, n_features: int = 4, seed: int = 0) -> Regression:
    """The data of work g: states that last some 20 steps, and a start some way off the truth."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_steps, n_features))
    coef, intercept = 1.5 * rng.normal(size=(n_features, n_states)), rng.normal(size=n_states)
    stay = 0.95
    transition = np.full((n_states, n_states), (1 - stay) / (n_states - 1))
    np.fill_diagonal(transition, stay)
    moves = rng.uniform(size=n_steps) > stay
    states = np.cumsum(moves * rng.integers(1, n_states, size=n_steps)) % n_states
    predictor = (X @ coef + intercept)[np.arange(n_steps), states]
    y = (rng.uniform(size=n_steps) < 1 / (1 + np.exp(-predictor))).astype(float)
    start = coef + 0.5 * rng.normal(size=coef.shape)
    return Regression(X, y, start, np.zeros(n_states), np.full(n_states, 1 / n_states), transition)
