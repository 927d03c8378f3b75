"""This library on work g, through its public interface."""

from __future__ import annotations

import warnings

import numpy as np
import torch

import hsmm
from benchmarks.regressions import Regression

load = Regression.load


class Adapter:
    def __init__(self, task: Regression, n_restarts: int) -> None:  # noqa: ARG002 - one start is given
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        self.task = task

    def fit(self) -> float:
        """The log-likelihood that a fit from the start reaches."""
        task = self.task
        model = hsmm.GLMHMM(len(task.initial), tol=task.tol, maxiter=task.max_iter)
        start = (task.coef, task.intercept, np.ones_like(task.intercept), task.initial, task.transition)
        model.fit(task.X, task.y, init_params=start)
        self.n_iter = model.n_iter_
        return model.log_likelihood_
