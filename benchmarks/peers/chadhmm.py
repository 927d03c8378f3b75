"""chadhmm: PyTorch in log space; full covariances, the only ones its HSMM has."""

from __future__ import annotations

import torch
from chadhmm.hsmm import GaussianHSMM
from torch.distributions import Categorical, MultivariateNormal

from benchmarks.peers.adapter import Ending
from benchmarks.works import Array, Task


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        torch.set_num_threads(1)
        self.task, self.X = task, torch.from_numpy(task.X)

    def iterate(self, n: int) -> None:
        self._model(self.task.start_mean).fit(self.X, max_iter=n, lengths=self.task.lengths, verbose=False)

    def log_likelihood(self) -> float:
        return float(self._model(self.task.mean).score(self.X, self.task.lengths, by_sample=False).logsumexp(-1).sum())

    def _model(self, mean: Array) -> GaussianHSMM:
        work = self.task.work
        model = GaussianHSMM(work.n_states, work.n_features, work.max_duration, seed=0)

        def law(table: Array) -> Categorical:
            return Categorical(logits=torch.from_numpy(table).log())

        emission = MultivariateNormal(torch.from_numpy(mean), torch.diag_embed(torch.from_numpy(self.task.variance)))
        model._params.update(
            {
                "pi": law(self.task.initial),
                "A": law(self.task.transition),
                "D": law(self.task.duration),
                "emission_pdf": emission,
            }
        )
        return model
