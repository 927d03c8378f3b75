"""A GLM-HMM by its attributes, and the hidden Markov model that they make."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsmm.components.emission.glm import Standardise
from hsmm.components.model import Model
from hsmm.errors import NotFittedError
from hsmm.models.frames import Framed
from hsmm.models.glm.chain import Chain, PatientEM
from hsmm.models.glm.checks import n_states_of
from hsmm.models.glm.parameters import ATTRIBUTES, GLMHMMParams, as_model, as_params, checked_params
from hsmm.models.glm.structure import structure_of
from hsmm.models.hmm import HMM
from hsmm.models.parameters import Parameters
from hsmm.sequences import Sequences
from hsmm.trials import Columns, Trials, make_trials

_OF_A_FIT = ("log_likelihood_", "n_iter_", "converged_", "history_", "state_share_", "_restarts")


class Fitted(Framed, Parameters):
    """Attributes that a fit or the user set, which are all that the model knows."""

    n_states: int
    observation_model: Any
    inverse_link_function: Any
    regularizer: Any
    regularizer_strength: Any
    standardise: Standardise
    dirichlet_initial_proba: Any
    dirichlet_transition_proba: Any
    solver_name: str | None
    maxiter: int
    tol: float
    n_init: int
    strict_nan: bool
    verbose: int

    coef_: Any
    intercept_: np.ndarray
    scale_: np.ndarray
    initial_prob_: np.ndarray
    transition_prob_: np.ndarray
    state_share_: np.ndarray
    _columns: Columns | None
    _single: bool

    @property
    def uses_context(self) -> bool:
        """Whether covariates are read: always."""
        return True

    @property
    def is_countable(self) -> bool:
        """Whether the number of free parameters says how closely this model can follow data."""
        return self._structure().is_countable

    def describe(self) -> dict[str, Any]:
        """What sets this candidate apart, in the words of the :class:`hsmm.HMM` that it is."""
        return self._chain(0).describe()

    @property
    def n_features_in_(self) -> int:
        """Covariates seen in fit."""
        return int(self._fitted_model().emission.parameters["coef"].shape[2])

    @property
    def n_parameters_(self) -> int:
        """Parameters that are learnt, for the information criteria."""
        return self._fitted_chain().n_parameters_

    def as_hmm(self) -> HMM:
        """The same model as an :class:`hsmm.HMM`, for all its queries: its X is y, its context is X."""
        return HMM(self._n_states(), emission=self._structure().emission)._adopt_loaded(self._fitted_model(), None)

    def __sklearn_is_fitted__(self) -> bool:
        return all(getattr(self, name, None) is not None for name in ATTRIBUTES)

    def _n_states(self) -> int:
        return n_states_of(self.n_states)

    def _structure(self) -> Model:
        return structure_of(
            observation_model=self.observation_model,
            inverse_link_function=self.inverse_link_function,
            regularizer=self.regularizer,
            regularizer_strength=self.regularizer_strength,
            standardise=self.standardise,
            solver_name=self.solver_name,
            dirichlet_initial_proba=self.dirichlet_initial_proba,
            dirichlet_transition_proba=self.dirichlet_transition_proba,
        )

    def _chain(self, seed: int) -> Chain:
        """The model that is fitted and asked, without parameters."""
        structure = self._structure()
        return Chain(
            self._n_states(),
            emission=structure.emission,
            transition=structure.transition,
            initial=structure.initial,
            n_init=int(self.n_init),
            max_iter=int(self.maxiter),
            tol=float(self.tol),
            random_state=seed,
            trainer=PatientEM(),
            verbose=int(self.verbose),
        )

    def _fitted_model(self) -> Model:
        missing = [name for name in ATTRIBUTES if getattr(self, name, None) is None]
        if missing:
            raise NotFittedError(
                f"This GLMHMM instance is not fitted yet. The following attributes are not set: {missing}. "
                "Please fit the model first, or set them."
            )
        if not hasattr(self, "_columns"):
            self._columns = (
                tuple((n, len(self.coef_[n])) for n in sorted(self.coef_)) if hasattr(self.coef_, "keys") else None
            )
        params = checked_params(tuple(getattr(self, name) for name in ATTRIBUTES), self._n_states())
        return as_model(self._structure(), params, self._columns)

    def _fitted_chain(self) -> Chain:
        chain = self._chain(0)._adopt_loaded(self._fitted_model(), None)
        if "state_share_" in self.__dict__:
            chain.state_share_ = self.state_share_
        return chain

    def _params(self) -> GLMHMMParams:
        return GLMHMMParams(*(getattr(self, name) for name in ATTRIBUTES))

    def _set_attributes(self, model: Model) -> None:
        for name in _OF_A_FIT:
            self.__dict__.pop(name, None)
        for name, value in zip(ATTRIBUTES, as_params(model, self._columns, single=self._single), strict=True):
            setattr(self, name, value)

    def _is_single(self) -> bool:
        """Whether y has one dimension."""
        return np.ndim(self.scale_) == 1

    def _trials(self, X: Any, y: Any, session_starts: Any) -> Trials:
        model = self._fitted_model()
        if y is not None and np.ndim(y) != (1 if self._is_single() else 2):
            raise ValueError(f"y has {np.ndim(y)} dimensions; the model was fitted on {1 if self._is_single() else 2}.")
        trials = make_trials(
            X,
            y,
            session_starts,
            columns=self._columns,
            n_responses=model.emission.n_features,
            strict_nan=bool(self.strict_nan),
        )
        self._check_widths(model, trials.sequences)
        self._check_features(X)
        return trials

    def _check_widths(self, model: Model, sequences: Sequences) -> None:
        coef = model.emission.parameters["coef"]
        assert sequences.covariates is not None
        if coef.shape[2] != sequences.covariates.shape[1]:
            raise ValueError(
                f"X has {sequences.covariates.shape[1]} features, but coef has {coef.shape[2]}; expected as many."
            )
        if coef.shape[3] != sequences.n_features:
            raise ValueError(f"y has {sequences.n_features} columns, but coef has {coef.shape[3]}; expected as many.")
