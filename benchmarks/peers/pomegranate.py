"""pomegranate: PyTorch, log space with matrix products."""

from __future__ import annotations

import numpy as np
import torch
from pomegranate.distributions import Normal
from pomegranate.hmm import DenseHMM

from benchmarks.peers.adapter import Ending
from benchmarks.works import Task


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        work = task.work
        self.task = task
        self.X = torch.from_numpy(task.X).reshape(work.n_series, work.n_steps, work.n_features)

    def iterate(self, n: int) -> None:
        model = self._model(self.task.start_mean)
        for _ in range(n):
            model.summarize(self.X)
            model.from_summaries()

    def decode(self) -> np.ndarray:
        return self._model(self.task.mean).viterbi(self.X).numpy().reshape(-1)

    def log_likelihood(self) -> float:
        model = self._model(self.task.mean)
        ends = model.ends[0].item()
        return float(model.log_probability(self.X).sum()) - self.task.work.n_series * ends

    def _model(self, mean: np.ndarray) -> DenseHMM:
        k = self.task.work.n_states
        states = [
            Normal(means=mean[i].copy(), covs=self.task.variance[i].copy(), covariance_type="diag") for i in range(k)
        ]
        return DenseHMM(states, edges=self.task.transition, starts=self.task.initial, ends=np.full(k, 1.0 / k))
