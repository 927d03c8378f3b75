"""nhsmm: PyTorch in float32, a gradient step; what it climbs is not a likelihood."""

from __future__ import annotations

import contextlib
import io

import torch
from nhsmm import HSMMConfig
from nhsmm.models.base import HSMM

from benchmarks.works import Task


class Adapter:
    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        torch.set_num_threads(1)
        work = task.work
        self.X = torch.from_numpy(task.X).float()
        config = HSMMConfig(n_states=work.n_states, n_features=work.n_features, max_duration=work.max_duration, seed=0)
        self.model = HSMM(config)
        self.model.init_dist()

    def iterate(self, n: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.model.fit(self.X, max_iter=n, tol=-1.0, verbose=False)

    def decode(self) -> None:
        self.model.predict(self.X)
