"""nemos on work g: its private EM with its own L-BFGS, ended by the gain per row as ours is.

Its own rule compares the geometric mean of the rows' densities; this one takes the logarithm of it first. It knows the
likelihood without the penalty only, so that is what must gain.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from nemos.glm import GLM
from nemos.glm.params import GLMParams
from nemos.glm_hmm.algorithm_configs import prepare_estep_log_likelihood, prepare_mstep_nll_objective_param
from nemos.glm_hmm.expectation_maximization import em_glm_hmm, forward_backward
from nemos.glm_hmm.params import GLMHMMParams, GLMScale, HMMParams
from nemos.observation_models import BernoulliObservations

from benchmarks.regressions import Regression

jax.config.update("jax_enable_x64", True)
load = Regression.load


class Adapter:
    def __init__(self, task: Regression, n_restarts: int) -> None:  # noqa: ARG002 - one start is given
        self.task = task
        self.X, self.y = jnp.asarray(task.X), jnp.asarray(task.y)
        model = BernoulliObservations()
        self.link = model.default_inverse_link_function
        self.log_density = prepare_estep_log_likelihood(False, model)
        self.start = GLMHMMParams(
            GLMParams(jnp.asarray(task.coef), jnp.asarray(task.intercept)),
            GLMScale(jnp.zeros(len(task.initial))),
            HMMParams(jnp.log(task.initial), jnp.log(task.transition)),
        )
        solver = GLM(observation_model=model, regularizer="Ridge", regularizer_strength=1.0, solver_name="LBFGS")
        objective = prepare_mstep_nll_objective_param(False, model, self.link)
        solver._instantiate_solver(objective, self.start.glm_params)
        self.m_step = solver._solver_run
        self.n_iter = 0

    def fit(self) -> float:
        """The log-likelihood that a fit from the start reaches."""
        task = self.task
        params, state = em_glm_hmm(
            self.start,
            self.X,
            self.y,
            self.link,
            self.log_density,
            self.m_step,
            None,
            maxiter=task.max_iter,
            tol=task.tol,
            check_convergence=_gains_little,
        )
        jax.block_until_ready(params)
        self.n_iter = int(state.iterations)
        chain = params.hmm_params.log_initial_prob, params.hmm_params.log_transition_prob
        new_session = jnp.zeros(len(self.y), dtype=bool).at[0].set(True)
        emission = params.glm_params, params.glm_scale, self.link, self.log_density
        density = forward_backward(self.X, self.y, *chain, *emission, new_session)[3]
        return len(self.y) * float(jnp.log(density))


def _gains_little(state: Any, tol: float) -> Any:
    gain = jnp.log(state.data_log_likelihood) - jnp.log(state.previous_data_log_likelihood)
    return jnp.abs(gain) < tol
