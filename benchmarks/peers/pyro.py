"""Pyro: a gradient step of ``DiscreteHMM``'s likelihood, its chain multiplied out in parallel."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from benchmarks.peers.adapter import Ending
from benchmarks.works import Array, Task


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        torch.set_num_threads(1)
        work = task.work
        self.task = task
        self.X = torch.from_numpy(task.X).reshape(work.n_series, work.n_steps, work.n_features)

    def iterate(self, n: int) -> None:
        tables = self._tables(self.task.start_mean)
        optimiser = torch.optim.SGD(tables, lr=1e-9)
        for _ in range(n):
            optimiser.zero_grad()
            (-self._log_prob(*tables)).backward()
            optimiser.step()

    def log_likelihood(self) -> float:
        return self._log_prob(*self._tables(self.task.mean)).item()

    def _tables(self, mean: Array) -> list[Tensor]:
        task = self.task
        start = (torch.from_numpy(x) for x in (task.initial, task.transition, mean, task.variance))
        initial, transition, means, variance = start
        return [x.detach().clone().requires_grad_() for x in (initial.log(), transition.log(), means, variance.sqrt())]

    def _log_prob(self, initial: Tensor, transition: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Its chain takes a step before the first row: that step's law is the initial one from any state."""
        emission = dist.Normal(mean, scale).to_event(1)
        steps = torch.cat([initial.expand(1, *transition.shape), transition.expand(self.X.shape[1] - 1, -1, -1)])
        return dist.DiscreteHMM(initial, steps, emission).log_prob(self.X).sum()
