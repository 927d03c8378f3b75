"""nemos: JAX, log space; the EM step of its private GLM-HMM with nothing but intercepts, means in closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from nemos.glm.params import GLMParams
from nemos.glm_hmm.algorithm_configs import get_analytical_scale_update, prepare_estep_log_likelihood
from nemos.glm_hmm.expectation_maximization import forward_backward, max_sum, run_m_step
from nemos.glm_hmm.params import GLMHMMParams, GLMScale, HMMParams
from nemos.observation_models import GaussianObservations

from benchmarks.peers.adapter import Ending
from benchmarks.works import Array, Task

jax.config.update("jax_enable_x64", True)


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        work = task.work
        self.task, self.y = task, jnp.asarray(task.X)
        self.nothing = jnp.zeros((work.n_rows, 1))
        self.new_session = jnp.zeros(work.n_rows, dtype=bool).at[:: work.n_steps].set(True)
        model = GaussianObservations()
        self.link = model.default_inverse_link_function
        self.log_density = prepare_estep_log_likelihood(True, model)
        self.scale_update = get_analytical_scale_update(model, True)
        log_variance = jnp.log(jnp.asarray(task.variance.T))
        self.true_density = lambda y, rate: self.log_density(y, rate, jnp.exp(log_variance))
        self.step = jax.jit(self._em_step)

    def iterate(self, n: int) -> None:
        params = self._parameters(self.task.start_mean)
        for _ in range(n):
            params = self.step(params)
        jax.block_until_ready(params)

    def decode(self) -> np.ndarray:
        means = self._parameters(self.task.mean).glm_params
        tables = (jnp.asarray(self.task.initial), jnp.asarray(self.task.transition), means)
        path = max_sum(self.nothing, self.y, *tables, self.link, self.true_density, self.new_session, return_index=True)
        return np.asarray(path)

    def log_likelihood(self) -> float:
        """From what it reports, the geometric mean of the rows' densities."""
        density = self._posterior(self._parameters(self.task.mean))[3]
        return self.task.work.n_rows * float(jnp.log(density))

    def _em_step(self, params: GLMHMMParams) -> GLMHMMParams:
        states, pairs, *_ = self._posterior(params)
        new, _ = run_m_step(
            params, self.nothing, self.y, states, pairs, self.new_session, _means, self.scale_update, self.link
        )
        return new

    def _posterior(self, params: GLMHMMParams) -> Any:
        chain = (params.hmm_params.log_initial_prob, params.hmm_params.log_transition_prob)
        emission = (params.glm_params, params.glm_scale, self.link, self.log_density)
        return forward_backward(self.nothing, self.y, *chain, *emission, self.new_session)

    def _parameters(self, mean: Array) -> GLMHMMParams:
        task = self.task
        chain = HMMParams(jnp.log(task.initial), jnp.log(task.transition))
        intercepts = GLMParams(jnp.zeros((1, *mean.T.shape)), jnp.asarray(mean.T))
        return GLMHMMParams(intercepts, GLMScale(jnp.log(jnp.asarray(task.variance.T))), chain)


def _means(params: GLMParams, X: Any, y: Any, posteriors: Any) -> tuple[GLMParams, None, None]:  # noqa: ARG001
    weighted = jnp.einsum("tn,ts->ns", y, posteriors) / posteriors.sum(0)
    return GLMParams(params.coef, weighted), None, None
