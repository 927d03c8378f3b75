"""dynamax: JAX, compiled; the EM step of its ``fit_em``, compiled once instead of at every fit."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dynamax.hidden_markov_model import DiagonalGaussianHMM

from benchmarks.peers.adapter import Ending
from benchmarks.works import Array, Task

jax.config.update("jax_enable_x64", True)


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        work = task.work
        self.model = DiagonalGaussianHMM(work.n_states, work.n_features)
        self.X = jnp.asarray(task.X.reshape(work.n_series, work.n_steps, work.n_features))
        self.truth, self.props = self._parameters(task, task.mean)
        self.start, _ = self._parameters(task, task.start_mean)
        self.em_step = jax.jit(self._em_step)
        self.paths = jax.jit(jax.vmap(self.model.most_likely_states, in_axes=(None, 0)))

    def iterate(self, n: int) -> None:
        carry = (self.start, self.model.initialize_m_step_state(self.start, self.props))
        for _ in range(n):
            carry = self.em_step(carry)
        jax.block_until_ready(carry)

    def decode(self) -> np.ndarray:
        return np.asarray(self.paths(self.truth, self.X)).reshape(-1)

    def log_likelihood(self) -> float:
        return float(jax.vmap(partial(self.model.marginal_log_prob, self.truth))(self.X).sum())

    def _em_step(self, carry: Any) -> Any:
        params, state = carry
        statistics, _ = jax.vmap(partial(self.model.e_step, params))(self.X)
        return self.model.m_step(params, self.props, statistics, state)

    def _parameters(self, task: Task, mean: Array) -> Any:
        return self.model.initialize(
            initial_probs=jnp.asarray(task.initial),
            transition_matrix=jnp.asarray(task.transition),
            emission_means=jnp.asarray(mean),
            emission_scale_diags=jnp.sqrt(jnp.asarray(task.variance)),
        )
