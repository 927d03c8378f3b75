"""Small data and quickly fitted estimators."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import hsmm
from hsmm.models import Estimator

LENGTHS = [70, 1, 45, 34]
QUICK: dict[str, Any] = {"n_init": 2, "max_iter": 12, "tol": 0.0}

ESTIMATORS: dict[str, Estimator] = {
    "hmm": hsmm.HMM(3, **QUICK),
    "hmm diag": hsmm.HMM(3, emission=hsmm.emissions.Gaussian(covariance="diag"), **QUICK),
    "hmm student": hsmm.HMM(2, emission="student_t", **QUICK),
    "hsmm": hsmm.HSMM(3, max_duration=15, **QUICK),
    "hsmm spherical": hsmm.HSMM(2, emission=hsmm.emissions.StudentT(covariance="spherical"), max_duration=6, **QUICK),
    "hsmm censored": hsmm.HSMM(3, duration="poisson", max_duration=9, left_censored=True, **QUICK),
    "hsmm categorical": hsmm.HSMM(2, duration="categorical", max_duration=60, min_duration=2, **QUICK),
    "hsmm ended": hsmm.HSMM(2, duration="geometric", max_duration=1, right_censored=False, **QUICK),
    "one state": hsmm.HSMM(1, max_duration=4, **QUICK),
}


def regimes(seed: int = 0, n_features: int = 2, lengths: list[int] | None = None, missing: float = 0.1) -> np.ndarray:
    """Rows of three levels that last about eight steps, with some cells missing."""
    rng = np.random.default_rng(seed)
    n_rows = sum(lengths or LENGTHS)
    level = np.repeat(rng.permutation(np.arange(n_rows) % 3), rng.poisson(8, n_rows))[:n_rows]
    X = 4.0 * level[:, None] + rng.normal(size=(n_rows, n_features))
    X[rng.random(X.shape) < missing] = np.nan
    return X


@functools.cache
def fitted(name: str) -> Estimator:
    return ESTIMATORS[name].clone().fit(regimes(), LENGTHS)
