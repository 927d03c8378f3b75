"""hmmlearn: C++ recursions, scaled (its default is log space)."""

from __future__ import annotations

import numpy as np
from hmmlearn.hmm import GaussianHMM

from benchmarks.peers.adapter import Ending
from benchmarks.works import Task


class Adapter:
    ending: Ending = "open"
    implementation = "scaling"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        self.task = task

    def iterate(self, n: int) -> None:
        self._model(self.task.start_mean, n).fit(self.task.X, self.task.lengths)

    def decode(self) -> np.ndarray:
        return self._model(self.task.mean).predict(self.task.X, self.task.lengths)

    def log_likelihood(self) -> float:
        return float(self._model(self.task.mean).score(self.task.X, self.task.lengths))

    def _model(self, mean: np.ndarray, n_iter: int = 1) -> GaussianHMM:
        model = GaussianHMM(
            self.task.work.n_states,
            covariance_type="diag",
            n_iter=n_iter,
            tol=-np.inf,
            init_params="",
            implementation=self.implementation,
        )
        model.n_features = self.task.work.n_features
        model.startprob_, model.transmat_ = self.task.initial, self.task.transition
        model.means_, model.covars_ = mean.copy(), self.task.variance
        return model
