"""The GLM-HMM: a hidden Markov chain of regressions, in nemos' words."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hsmm.components.emission.glm import Standardise
from hsmm.components.model import Model
from hsmm.errors import NotFittedError
from hsmm.models.glm import options as words
from hsmm.models.glm.chain import Chain
from hsmm.models.glm.checks import (
    as_seed,
    check_prior,
    check_stopping,
)
from hsmm.models.glm.initialisers import CHAIN_SLOTS, GLM_SLOTS, checked
from hsmm.models.glm.keeping import Keeping, plain
from hsmm.models.glm.parameters import (
    EMState,
    GLMHMMParams,
    as_model,
    as_params,
    checked_params,
)
from hsmm.models.glm.queries import Queries
from hsmm.models.glm.starting import Form, begin
from hsmm.models.glm.stepping import Stepping
from hsmm.models.parameters import RandomState, check_random_state, seed_from, whole
from hsmm.models.progress import Callback, check_verbose
from hsmm.models.routing import Routed
from hsmm.models.shown import Displayed, Shown
from hsmm.sequences import Sequences, column_names
from hsmm.training.together import Fitting, alone
from hsmm.trials import Columns, columns_of, make_trials


class _Form(NamedTuple):
    """The named ``columns`` of X if it is a dict, whether y has a ``single`` dimension, names of the covariates."""

    columns: Columns | None
    single: bool
    features: tuple[str, ...] | None


def _form_of(X: Any, y: Any) -> _Form:
    return _Form(columns_of(X), np.ndim(y) == 1, column_names(X))


class GLMHMM(Queries, Keeping, Stepping, Routed, Displayed):
    """Hidden Markov model whose states are generalised linear models of ``y`` on covariates ``X``.

    Constructor, methods and attributes are those of nemos' class of this name; docs/how-to/from-nemos.md says where
    they differ, and why.

    Parameters
    ----------
    n_states : number of hidden states.
    observation_model : "Bernoulli", "Poisson", "Gamma", "NegativeBinomial", "Gaussian" or "Categorical".
    inverse_link_function : "exp", "logistic", "softplus", "identity", "norm_cdf", "one_over_x", "log_softmax", a
        function of torch tensors, or None for the observation model's own.
    regularizer : "UnRegularized", "Ridge", "Lasso", "ElasticNet", "GroupLasso", or an object of
        ``hsmm.regularizers``; intercepts are not penalised.
    regularizer_strength : a number >= 0; (strength, ratio) for ElasticNet.
    dirichlet_initial_proba, dirichlet_transition_proba : prior concentrations > 0, (K,) and (K, K).
    solver_name : "Newton" (the default), "LBFGS" or "ProximalGradient"; the last two are slower ways to the same
        optimum.
    solver_kwargs : must be empty: the solvers run until rounding ends them.
    maxiter, tol : EM stops when an iteration gains less than ``tol`` nats of penalised log-likelihood per observed row,
        or after ``maxiter``.
    seed : the same as ``random_state``, and stronger: an int, or an array of such as JAX makes keys of.
    hmm_initialization_funcs, model_initialization_funcs : see :meth:`setup`.
    standardise : what penalties weigh. "decade": coefficients for covariates in the unit, of those a power of ten
        apart, that makes them the size of one: nemos' own where they are, and the same for seconds and milliseconds.
        True: those of standardised covariates, so that no unit changes the fit. False: those of covariates as they are.
    n_init : starts; the first is made by the initialisers, the others are drawn. With more than one the states are
        numbered by their predictors at the mean of X, with one they keep the order of the start.
    random_state : seed, a generator of NumPy, or None; the same seed and data give the same bits on the same
        machine.
    strict_nan : whether a missing response within a session is refused rather than marginalised.
    verbose : 1 writes every tenth iteration of a fit to standard output, 2 each.
    """

    regresses: ClassVar[bool] = True
    routes: ClassVar = {"fit": ("init_params", "session_starts", "callback"), "score": ("session_starts",)}

    _form: _Form

    def __init__(
        self,
        n_states: int,
        observation_model: Any = "Bernoulli",
        inverse_link_function: Any = None,
        regularizer: Any = "Ridge",
        regularizer_strength: Any = 1.0,
        dirichlet_initial_proba: Any = None,
        dirichlet_transition_proba: Any = None,
        solver_name: str | None = None,
        solver_kwargs: dict[str, Any] | None = None,
        maxiter: int = 1000,
        tol: float = 1e-8,
        seed: Any = None,
        hmm_initialization_funcs: dict[str, Any] | None = None,
        model_initialization_funcs: dict[str, Any] | None = None,
        *,
        standardise: Standardise = "decade",
        n_init: int = 1,
        random_state: RandomState = 123,
        strict_nan: bool = False,
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.observation_model = observation_model
        self.inverse_link_function = inverse_link_function
        self.regularizer = regularizer
        self.regularizer_strength = regularizer_strength
        self.dirichlet_initial_proba = dirichlet_initial_proba
        self.dirichlet_transition_proba = dirichlet_transition_proba
        self.solver_name = solver_name
        self.solver_kwargs = solver_kwargs
        self.maxiter = maxiter
        self.tol = tol
        self.seed = seed
        self.hmm_initialization_funcs = hmm_initialization_funcs
        self.model_initialization_funcs = model_initialization_funcs
        self.standardise = standardise
        self.n_init = n_init
        self.random_state = random_state
        self.strict_nan = strict_nan
        self.verbose = verbose
        self.check_options()

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; raises what the constructor would, and then changes none."""
        before = self.get_params()
        super().set_params(**params)
        try:
            self.check_options()
        except (ValueError, TypeError, KeyError):
            super().set_params(**before)
            raise
        return self

    def check_options(self) -> None:
        """Raise ``TypeError`` or ``ValueError`` for an option that no data could make right."""
        k = self._n_states()
        whole("n_init", self.n_init, 1)
        check_random_state(self.random_state)
        check_stopping(self.maxiter, self.tol)
        check_verbose(self.verbose)
        if not isinstance(self.strict_nan, (bool, np.bool_)):
            raise TypeError(f"strict_nan is {self.strict_nan!r}; expected True or False.")
        if not isinstance(self.standardise, (bool, np.bool_)) and self.standardise != "decade":
            raise TypeError(f"standardise is {self.standardise!r}; expected True, False or 'decade'.")
        if self.solver_kwargs:
            raise ValueError(
                f"solver_kwargs are {self.solver_kwargs!r}; expected none: the solvers run until rounding ends them."
            )
        if self.seed is not None:
            as_seed(self.seed, "seed")
        for name, shape in (("dirichlet_initial_proba", (k,)), ("dirichlet_transition_proba", (k, k))):
            check_prior(name, getattr(self, name), shape)
        checked(self.hmm_initialization_funcs, CHAIN_SLOTS)
        checked(self.model_initialization_funcs, GLM_SLOTS)
        self._structure()

    def setup(
        self,
        initial_proba_init: Any = None,
        initial_proba_init_kwargs: dict[str, Any] | None = None,
        transition_proba_init: Any = None,
        transition_proba_init_kwargs: dict[str, Any] | None = None,
        glm_params_init: Any = None,
        glm_params_init_kwargs: dict[str, Any] | None = None,
        scale_init: Any = None,
        scale_init_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Say how a fit begins; what is left None stays as it was.

        - ``initial_proba_init``: "uniform" (default), "random", "dirichlet" (alphas), "kmeans" (minimum_prob)
        - ``transition_proba_init``: "sticky" (default; prob_stay), "uniform", "random", "dirichlet" (alphas), "kmeans"
        - ``glm_params_init``: "random" (default; std_dev), "kmeans"
        - ``scale_init``: "constant" (default; value), "kmeans"

        or functions: of ``n_states, X, y, session_starts, random_key`` for the chain, and of ``inverse_link_function``
        too for the regressions (``observation_model`` if they name it); ``random_key`` is a NumPy generator. They
        return arrays in the shapes of the fitted attributes, ``glm_params_init`` a pair (coef, intercept).

        Raises ``ValueError`` for an unknown name, for a function that lacks an argument, and for ``*_kwargs`` that an
        initialiser does not take.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        for attribute, slots in (("hmm_initialization_funcs", CHAIN_SLOTS), ("model_initialization_funcs", GLM_SLOTS)):
            merged = dict(getattr(self, attribute) or {})
            for slot in slots:
                if slot in given:
                    merged.pop(f"{slot}_kwargs", None)
                merged |= {name: given[name] for name in (slot, f"{slot}_kwargs") if name in given}
            checked(merged, slots)
            setattr(self, attribute, merged or None)

    def fit(
        self,
        X: Any,
        y: Any,
        init_params: Any = None,
        session_starts: Any = None,
        *,
        callback: Callback | None = None,
    ) -> Self:
        """Estimate all parameters by EM on log-likelihood and log-prior.

        ``X`` (n_time_bins, n_features) or a dict of such; ``y`` (n_time_bins,), or (n_time_bins, n_responses) that are
        independent given the state. ``init_params`` are five arrays as in :class:`GLMHMMParams`. ``session_starts``:
        booleans (n_time_bins,), indices, or a pynapple interval set; the first row always starts a session.
        ``callback`` is called with a :class:`~hsmm.models.progress.Progress` after each iteration.

        Rows with NaN at the ends of a session are left out; a response missing within is marginalised, a covariate
        raises ``ValueError``.
        """
        self.check_options()
        form = _form_of(X, y)
        trials = make_trials(
            X, y, session_starts, columns=form.columns, n_responses=None, strict_nan=bool(self.strict_nan)
        )
        start = None if init_params is None else checked_params(init_params, self._n_states())
        return alone(self._fitting(trials.sequences, form, start, callback=callback))

    def fitting(self, sequences: Sequences, *, start: Any = None, states: Tensor | None = None) -> Fitting[Self]:
        """:meth:`fit` for packed responses beside their covariates, from the parameters of ``start``, a fitted model.

        ``states`` (N,) are those that are known, -1 where they are not.
        """
        self.check_options()
        form = self.__dict__.get("_form", _Form(None, sequences.n_features == 1, None))
        first = None
        if start is not None:
            first = as_params(start.model_for(self._structure()), form.columns, single=form.single)
        return (yield from self._fitting(sequences, form, first, states=states))

    def for_rows(self, X: Any, y: Any) -> Self:
        """An unfitted copy that takes packed rows for those of this X and y: names of designs, dimensions of y."""
        made = self.clone()
        made._form = _form_of(X, y)
        return made

    def clone(self) -> Self:
        made = super().clone()
        if "_form" in self.__dict__:
            made._form = self._form
        return made

    def model_for(self, structure: Model) -> Model:
        """The fitted model, to start one of this structure from. Raises ``ValueError`` where it is of another."""
        return self._fitted_chain().model_for(structure)

    def _fitting(
        self,
        sequences: Sequences,
        form: _Form,
        params: GLMHMMParams | None,
        *,
        states: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Fitting[Self]:
        self._columns, self._single = form.columns, form.single
        if sequences.n_rows < self._n_states():
            raise ValueError(f"{sequences.n_rows} rows are left for {self.n_states} states; give more data.")
        seed = self._seed()
        sequences.refuse_underflow(Chain.observes)
        start = as_model(self._structure(), params or self._begin(sequences, seed), self._columns)
        self._check_widths(start, sequences)
        chain = self._chain(seed)
        first = self._chain(seed)._adopt_loaded(start, None)
        yield from chain.fitting(sequences, start=first, states=states, callback=callback)
        self._remember_features(form.features)
        self._adopt(chain, sequences)
        return self

    def _shown(self) -> Shown:
        try:
            return super()._shown()
        except (TypeError, ValueError):  # attributes that were set by hand, and do not fit each other
            return Shown(self._head())

    def _head(self) -> str:
        values = {name: plain(value) for name, value in self.get_params().items()}
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        shown = ", ".join(f"{name}={value!r}" for name, value in values.items() if value != defaults[name])
        return f"{type(self).__name__}({shown})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True, two_d_labels=True),
            input_tags=InputTags(allow_nan=True, two_d_array=True),
        )

    def _seed(self) -> int:
        if self.seed is None:
            return seed_from(self.random_state)
        return as_seed(self.seed, "seed")

    def _begin(self, sequences: Sequences, seed: int) -> GLMHMMParams:
        form = Form(self._n_states(), self._columns, self._single)
        functions = (self.hmm_initialization_funcs, self.model_initialization_funcs)
        return begin(self._structure(), sequences, form, functions, seed)

    def _adopt(self, chain: Chain, sequences: Sequences) -> None:
        best = chain._best_fit()
        self._set_attributes(chain._fitted_model())
        self._restarts = chain.restarts_
        self.log_likelihood_, self.n_iter_, self.converged_ = chain.log_likelihood_, chain.n_iter_, chain.converged_
        self.history_, self.state_share_ = chain.history_, chain.state_share_
        history = np.full(int(self.maxiter), np.nan)
        reached = self.history_[1 : int(self.maxiter) + 1]
        history[: len(reached)] = reached
        earlier = float(best.history[-2]) if len(best.history) > 1 else -np.inf
        prior = best.objective - best.log_likelihood
        self.solver_state_ = EMState(best.log_likelihood, earlier - prior, history, best.n_iter, best.converged)
        self.dof_resid_ = self._degrees_of_freedom(sequences, None)

    @property
    def restarts_(self) -> pl.DataFrame:
        """One row a start: seed, kind, iterations, objective, why it stopped."""
        if not hasattr(self, "_restarts"):
            raise NotFittedError("only a model fitted in this process knows its restarts; call fit.")
        return self._restarts

    def _degrees_of_freedom(self, sequences: Sequences, n_samples: int | None) -> float:
        """Rows less learnt parameters; of a penalised coefficient those count that are not zero."""
        if n_samples is not None and (not isinstance(n_samples, (int, np.integer)) or isinstance(n_samples, bool)):
            raise TypeError(f"n_samples is {n_samples!r}; expected a whole number, or None.")
        parts = self._fitted_model().emission.parameters
        coef, intercept = parts["coef"], parts["intercept"]
        k = self._n_states()
        kind = words.regularizer(self.regularizer).name
        if kind == "unregularized":
            assert sequences.covariates is not None
            rank = int(torch.linalg.matrix_rank(sequences.covariates))
            slopes = rank * coef[0, :, 0].numel()
        else:
            slopes = coef.numel() if kind == "ridge" else int((coef != 0).sum())
        rows = sequences.n_rows if n_samples is None else int(n_samples)
        return float(rows - intercept.numel() - (k - 1) - k * (k - 1) - slopes)
