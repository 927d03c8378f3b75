"""flash-semicrf on the CPU: PyTorch, a gradient step of the likelihood; it has no law of the first state."""

from __future__ import annotations

import torch
from flash_semicrf import semi_crf_streaming_forward
from torch import Tensor

from benchmarks.works import Task


class Adapter:
    def __init__(self, task: Task, n_restarts: int) -> None:
        torch.set_num_threads(1)
        self.task, self.n_restarts, self.X = task, n_restarts, torch.from_numpy(task.X)
        self.lengths = torch.full((n_restarts,), len(task.X))

    def iterate(self, n: int) -> None:
        start = (self.task.start_mean, self.task.transition + 1e-12, self.task.duration.T + 1e-12)
        mean, transition, duration = (torch.from_numpy(table).requires_grad_() for table in start)
        optimiser = torch.optim.SGD([mean, transition, duration], lr=1e-9)
        for _ in range(n):
            optimiser.zero_grad()
            (-self._partition(mean, transition.log(), duration.log()).sum()).backward()
            optimiser.step()

    def _partition(self, mean: Tensor, transition: Tensor, duration: Tensor) -> Tensor:
        variance = torch.from_numpy(self.task.variance)
        log_emission = -0.5 * ((self.X[:, None] - mean) ** 2 / variance + variance.log()).sum(-1)
        scores = torch.cat([log_emission.new_zeros(1, len(mean)), log_emission.cumsum(0)])
        several = scores.expand(self.n_restarts, -1, -1)
        return semi_crf_streaming_forward(several, transition, duration, self.lengths, len(duration), use_triton=False)
