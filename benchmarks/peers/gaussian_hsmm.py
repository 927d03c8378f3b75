"""gaussian-hsmm: NumPy in log space, Poisson durations; a segment must end with its series."""

from __future__ import annotations

import numpy as np
from gaussian_hsmm import GaussianHSMM

from benchmarks.peers.adapter import Ending
from benchmarks.works import Task


class Adapter:
    ending: Ending = "closed"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        self.task = task
        self.truth = self._model(1)
        self.truth.n_features_ = task.work.n_features
        self.truth.startprob_, self.truth.transmat_ = task.initial, task.transition
        self.truth.means_, self.truth.covars_ = task.mean, task.variance
        self.truth.duration_means_ = task.mean_duration
        self.truth._update_duration_probabilities()

    def iterate(self, n: int) -> None:
        self._model(n).fit(self.task.X, self.task.lengths)

    def decode(self) -> np.ndarray:
        return self.truth.predict(self.task.X, self.task.lengths)

    def log_likelihood(self) -> float:
        return self.truth._forward(self.truth._compute_log_emissions(self.task.X))[1]

    def _model(self, n_iter: int) -> GaussianHSMM:
        work = self.task.work
        return GaussianHSMM(
            work.n_states, max_duration=work.max_duration, n_iter=n_iter, tol=1e-300, hmm_n_iter=2, random_state=0
        )
