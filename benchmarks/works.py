"""The works to be done: data simulated from an exactly known model, the same for every library.

NumPy only, because peers read this file in environments of their own.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """``n_series`` series of ``n_steps`` rows; ``max_duration`` 0 is an HMM.

    ``n_restarts`` models are to be fitted; emissions are Gaussian with diagonal covariances.
    """

    name: str
    n_states: int
    max_duration: int
    n_series: int
    n_steps: int
    n_features: int
    n_restarts: int = 1

    @property
    def is_hmm(self) -> bool:
        return self.max_duration == 0

    @property
    def n_rows(self) -> int:
        return self.n_series * self.n_steps

    @property
    def n_cells(self) -> int:
        """T·(K·D + K²), what one E-step of one model goes through; an HMM has D = 0."""
        return self.n_rows * self.n_states * (self.max_duration + self.n_states)

    @property
    def lengths(self) -> list[int]:
        return [self.n_steps] * self.n_series

    def shortened(self, n_steps: int) -> Work:
        return replace(self, n_steps=min(n_steps, self.n_steps))

    def __str__(self) -> str:
        kind = "HMM" if self.is_hmm else "HSMM"
        series = f"{self.n_series}x" if self.n_series > 1 else ""
        durations = "" if self.is_hmm else f" D={self.max_duration}"
        return f"{kind} T={series}{self.n_steps} K={self.n_states}{durations} F={self.n_features}"


WORKS = {
    work.name: work
    for work in (
        Work("a", 5, 0, 1, 10_000, 3),
        Work("b", 5, 0, 1, 100_000, 3),
        Work("c", 5, 0, 100, 1_000, 3),
        Work("d", 3, 30, 1, 1_000, 5),
        Work("e", 5, 100, 1, 10_000, 3),
        Work("f", 3, 30, 1, 1_000, 5, n_restarts=20),
    )
}


@dataclass(frozen=True)
class Task:
    """What a library is given: rows ``X`` (N, F), where series end, and the parameters that made them.

    ``initial`` (K,), ``transition`` (K, K), ``mean`` and ``variance`` (K, F), ``duration`` (K, D), empty for an HMM:
    1 + Poisson(``mean_duration`` - 1), cut off at D and normalised.
    """

    work: Work
    X: Array
    initial: Array
    transition: Array
    duration: Array
    mean_duration: Array
    mean: Array
    variance: Array

    @property
    def lengths(self) -> list[int]:
        return self.work.lengths

    @cached_property
    def start_mean(self) -> Array:
        """Means some way off the true ones, for libraries that take a start."""
        offset = np.random.default_rng(1).normal(size=self.mean.shape)
        return self.mean + 0.2 * np.sqrt(self.variance) * offset

    def save(self, path: Path) -> None:
        arrays: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        np.savez(path, **arrays, work=np.array(json.dumps(asdict(self.work))))

    @classmethod
    def load(cls, path: Path) -> Task:
        with np.load(path) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files if name != "work"}
            return cls(work=Work(**json.loads(str(stored["work"]))), **arrays)


def make_task(work: Work, seed: int = 0) -> Task:
    """The data of a work: always the same for the same seed."""
    rng = np.random.default_rng(seed)
    k, d = work.n_states, work.max_duration
    mean = rng.normal(scale=1.5, size=(k, work.n_features))
    variance = rng.uniform(0.5, 1.5, size=(k, work.n_features))
    initial = rng.dirichlet(np.full(k, 5.0))
    if work.is_hmm:
        stay = rng.uniform(0.8, 0.98, size=k)
        duration, mean_duration = np.empty((k, 0)), 1 / (1 - stay)
    else:
        stay = np.zeros(k)
        mean_duration = np.maximum(rng.uniform(0.1, 0.5, size=k) * d, 1.5)
        duration = shifted_poisson(mean_duration, d)
    transition = rng.dirichlet(np.full(k, 5.0), size=k) * (1 - np.eye(k))
    transition *= (1 - stay)[:, None] / transition.sum(1, keepdims=True)
    np.fill_diagonal(transition, stay)
    states = np.concatenate([_states(rng, initial, transition, duration, work.n_steps) for _ in range(work.n_series)])
    X = mean[states] + np.sqrt(variance[states]) * rng.normal(size=(work.n_rows, work.n_features))
    return Task(work, X, initial, transition, duration, mean_duration, mean, variance)


def shifted_poisson(mean_duration: Array, max_duration: int) -> Array:
    """(K, D) probabilities of 1 + Poisson(mean - 1), normalised over 1..D."""
    steps = np.arange(max_duration)
    log_factorial = np.array([math.lgamma(n + 1) for n in steps])
    log_weight = steps * np.log(mean_duration - 1)[:, None] - log_factorial
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def _states(rng: np.random.Generator, initial: Array, transition: Array, duration: Array, n_steps: int) -> Any:
    states = np.empty(n_steps, dtype=np.int64)
    start, state = 0, _draw(rng, initial)
    while start < n_steps:
        steps = 1 + _draw(rng, duration[state]) if duration.size else 1
        states[start : start + steps] = state
        start, state = start + steps, _draw(rng, transition[state])
    return states


def _draw(rng: np.random.Generator, probability: Array) -> int:
    return min(int(np.searchsorted(probability.cumsum(), rng.random())), len(probability) - 1)
