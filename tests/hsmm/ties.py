"""Rows of which a part is tied, or whose states differ in size by powers of ten, and the states that made them."""

from __future__ import annotations

import numpy as np

PLANTED = ("scattered", "rounded", "twice")


def watts() -> tuple[np.ndarray, np.ndarray]:
    """A meter: off, idle, on."""
    rng = np.random.default_rng(1)
    states = np.tile(np.repeat([0, 1, 2], 15), 33)
    return rng.normal(np.array([0.0, 40.0, 2000.0])[states], np.array([0.3, 3.0, 100.0])[states]), states


def tied_levels(planted: str) -> tuple[np.ndarray, np.ndarray]:
    """Two levels; a tenth of the rows or more have few values, which their level might have had."""
    rng = np.random.default_rng(4)
    states = np.tile(np.repeat([0, 1], 25), 8)
    X = rng.normal(5.0 * states, 1.0)
    if planted == "scattered":
        X[rng.choice(np.flatnonzero(states == 0), 40, replace=False)] = 0.3
    elif planted == "rounded":
        X = np.where(rng.random(400) < 0.5, X.round(), X)
    else:
        for level in range(2):
            rows = np.flatnonzero(states == level)
            X[rng.choice(rows, 15, replace=False)] = X[rng.choice(rows, 3, replace=False)].repeat(5)
    return X, states


def held_values() -> tuple[np.ndarray, np.ndarray]:
    """Two autoregressions; a seventh of the rows hold the value of the row before."""
    rng = np.random.default_rng(5)
    states = np.tile(np.repeat([0, 1], 25), 8)
    X, noise = np.zeros(400), rng.normal(size=400)
    for t in range(400):
        X[t] = np.array([-0.3, 0.8])[states[t]] * (X[t - 1] if t else 0.0) + 2.0 * states[t] + noise[t]
    for t in np.sort(rng.choice(np.arange(1, 400), 60, replace=False)):
        X[t] = X[t - 1]
    return X, states
