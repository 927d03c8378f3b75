"""This library, through its public interface."""

from __future__ import annotations

import warnings
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

import hsmm
from benchmarks.peers.adapter import Ending
from benchmarks.works import Task
from hsmm import inference
from hsmm.training import first
from hsmm.training.starts import Starts, draw_starts

DIAGONAL = hsmm.emissions.Gaussian(covariance="diag")


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        self.task, self.n_restarts = task, n_restarts
        self.truth = true_model(task)
        self.drawn: Starts | None = None
        self.tables = potentials(task).take(torch.zeros(n_restarts, dtype=torch.int64))

    def iterate(self, n: int) -> None:
        work = self.task.work
        options: dict[str, Any] = {"emission": DIAGONAL, "n_init": self.n_restarts, "max_iter": n, "tol": 0.0}
        model: hsmm.HMM | hsmm.HSMM = hsmm.HMM(work.n_states, **options)
        if not work.is_hmm:
            model = hsmm.HSMM(work.n_states, duration="categorical", max_duration=work.max_duration, **options)
        with patch.object(first, "draw_starts", self._drawn_once):
            model.fit(self.task.X, self.task.lengths)
        made = model.restarts_["iterations"]
        assert made.min() == made.max() == n, "restarts stopped early: the iterations cannot be counted"

    def _drawn_once(self, *arguments: Any) -> Starts:
        """The starts of every fit, which take longer than an iteration and are no part of one."""
        self.drawn = self.drawn or draw_starts(*arguments)
        return self.drawn

    def decode(self) -> np.ndarray:
        return self.truth.predict(self.task.X, self.task.lengths)

    def e_step(self) -> None:
        inference.expected_counts(self.tables)

    def log_likelihood(self) -> float:
        return self.truth.score(self.task.X, self.task.lengths)


def true_model(task: Task, *, right_censored: bool = True) -> hsmm.HMM | hsmm.HSMM:
    """The model that made the data."""
    emission = hsmm.emissions.Gaussian.from_parameters(mean=task.mean, covariance=task.variance)
    common: dict[str, Any] = {"initial_prob": task.initial, "transition_prob": task.transition, "emission": emission}
    if task.work.is_hmm:
        return hsmm.HMM.from_parameters(**common)
    return hsmm.HSMM.from_parameters(**common, duration_prob=task.duration, right_censored=right_censored)


def potentials(task: Task, *, right_censored: bool = True) -> hsmm.Potentials:
    """The tables of the data under the model that made them."""

    def log(table: np.ndarray) -> Tensor:
        return torch.from_numpy(table).log()[None]

    squares = (task.X[:, None] - task.mean) ** 2 / task.variance + np.log(2 * np.pi * task.variance)
    return hsmm.Potentials(
        log_initial=log(task.initial),
        log_transition=log(task.transition),
        log_duration=None if task.work.is_hmm else log(task.duration),
        log_emission=torch.from_numpy(-0.5 * squares.sum(-1))[None],
        offsets=torch.tensor([0, *np.cumsum(task.lengths)]),
        right_censored=right_censored,
    )
