"""EM by hand: parameters in, a step, parameters out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from hsmm import inference
from hsmm.components.model import Model
from hsmm.models.glm.fitted import Fitted
from hsmm.models.glm.parameters import EMState, GLMHMMParams, as_model, checked_params
from hsmm.models.queries import refuse_impossible
from hsmm.sequences import Sequences
from hsmm.training.m_step import maximise
from hsmm.trials import columns_of, make_trials


class Stepping(Fitted):
    """Losses and EM steps at parameters that are given, as nemos has them."""

    @abstractmethod
    def _seed(self) -> int: ...
    @abstractmethod
    def _begin(self, sequences: Sequences, seed: int) -> GLMHMMParams: ...
    @abstractmethod
    def _degrees_of_freedom(self, sequences: Sequences, n_samples: int | None) -> float: ...

    def compute_loss(self, params: Any, X: Any, y: Any, session_starts: Any = None) -> float:
        """Minus the log-likelihood at these parameters."""
        model, sequences = self._at(params, X, y, session_starts)
        return -float(inference.log_partition(model.potentials(sequences)).sum())

    def initialize_params(self, X: Any, y: Any, session_starts: Any = None) -> GLMHMMParams:
        """What a fit would begin with."""
        self._columns, self._single = columns_of(X), np.ndim(y) == 1
        strict = bool(self.strict_nan)
        trials = make_trials(X, y, session_starts, columns=self._columns, n_responses=None, strict_nan=strict)
        return self._begin(trials.sequences, self._seed())

    def initialize_optimizer_and_state(self, params: Any, X: Any, y: Any) -> EMState:
        """The state of an EM that has made no step. Raises where the parameters do not fit the data."""
        self._at(params, X, y, None)
        return EMState(-np.inf, -np.inf, np.full(int(self.maxiter), np.nan), 0, False)

    initialize_state = initialize_optimizer_and_state

    def update(
        self,
        params: Any,
        opt_state: EMState,
        X: Any,
        y: Any,
        session_starts: Any = None,
        n_samples: int | None = None,
    ) -> tuple[GLMHMMParams, EMState]:
        """One EM step from these parameters, which sets the fitted attributes.

        ``n_samples`` is the number of rows that ``dof_resid_`` counts, by default those given. As many updates as
        ``maxiter`` are a fit, up to ten: from there on a fit leaps ahead.
        """
        before, sequences = self._at(params, X, y, session_starts)
        counts = inference.posterior(p := before.potentials(sequences))
        refuse_impossible(p, counts.log_likelihood.isfinite())
        after = maximise(before, sequences, counts)
        likelihood = float(counts.log_likelihood.sum())
        objective = likelihood + float(before.log_prior().sum())
        history, step = np.array(opt_state.log_likelihood_history), int(opt_state.iterations)
        gain = objective - (history[step - 1] if 0 < step <= len(history) else -np.inf)
        if step < len(history):
            history[step] = objective
        small = gain < self.tol * sequences.n_observed_rows
        state = EMState(likelihood, opt_state.data_log_likelihood, history, step + 1, bool(small))
        self._set_attributes(after)
        self.solver_state_ = state
        self.dof_resid_ = self._degrees_of_freedom(sequences, n_samples)
        return self._params(), state

    def _at(self, params: Any, X: Any, y: Any, session_starts: Any) -> tuple[Model, Sequences]:
        """The model of these parameters and the packed data."""
        self._columns, self._single = columns_of(X), np.ndim(y) == 1
        strict = bool(self.strict_nan)
        trials = make_trials(X, y, session_starts, columns=self._columns, n_responses=None, strict_nan=strict)
        model = as_model(self._structure(), checked_params(params, self._n_states()), self._columns)
        self._check_widths(model, trials.sequences)
        return model.in_units_of(trials.sequences), trials.sequences
