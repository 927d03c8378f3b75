"""Data and models whose right answer is known."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import hsmm

QUICK: dict[str, Any] = {"n_init": 4, "max_iter": 400, "tol": 1e-5, "random_state": 1}


def levels(n_states: int, n_rows: int = 600, seed: int = 0, gap: float = 5.0) -> np.ndarray:
    """Levels ``gap`` standard deviations apart that last about eight steps each."""
    rng = np.random.default_rng(seed)
    turns = np.repeat(rng.permutation(np.arange(n_rows) % n_states), 1 + rng.poisson(7, n_rows))[:n_rows]
    return gap * turns + rng.normal(size=n_rows)


@functools.cache
def fitted(n_states: int, n_true: int, **options: Any) -> hsmm.HMM:
    return hsmm.HMM(n_states, **(QUICK | options)).fit(levels(n_true))


def made(means: list[float], initial: list[float] | None = None, stay: float = 0.9) -> hsmm.HMM:
    """An HMM of known levels with unit variance."""
    n = len(means)
    moves = np.full((n, n), (1.0 - stay) / (n - 1))
    np.fill_diagonal(moves, stay)
    emission = hsmm.emissions.Gaussian.from_parameters(mean=np.array(means)[:, None], covariance=np.ones((n, 1)))
    start = np.full(n, 1 / n) if initial is None else np.array(initial)
    return hsmm.HMM.from_parameters(initial_prob=start, transition_prob=moves, emission=emission)
