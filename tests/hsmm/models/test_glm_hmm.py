# ruff: noqa: ARG001, ARG005 - functions that must take all arguments
"""The GLM-HMM: parity with nemos where it is right, its defects absent, its options, forms and errors."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

import hsmm
from hsmm import GLMHMM, regularizers
from hsmm.models.glm_hmm import GLMHMMParams

FIXTURE = np.load(Path(__file__).parents[2] / "data" / "nemos_fixture.npz")
MODELS = ("Bernoulli", "Poisson", "Gamma", "NegativeBinomial", "Gaussian", "Categorical")
SCALED = ("Gamma", "NegativeBinomial", "Gaussian")
PARAMS = (FIXTURE["coef"], FIXTURE["intercept"], np.ones(2), FIXTURE["pi"], FIXTURE["A"])


def fitted_at(params: tuple, **options: Any) -> GLMHMM:
    model = GLMHMM(len(params[3]), **options)
    model.coef_, model.intercept_, model.scale_, model.initial_prob_, model.transition_prob_ = params
    return model


def simulated(
    kind: str, n: int = 300, seed: int = 0, n_responses: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y and states from two states that last."""
    rng = np.random.default_rng(seed)
    states = (np.cumsum(rng.uniform(size=n) < 0.05) % 2).astype(int)
    X = rng.normal(size=(n, 2))
    shape = (n, n_responses) if n_responses else (n,)
    predictor = np.where(states == 0, 0.6 + 0.8 * X[:, 0], -0.4 - 0.5 * X[:, 1])
    predictor = np.broadcast_to(predictor.reshape(n, *[1] * (len(shape) - 1)), shape)
    made = {
        "Bernoulli": lambda: (rng.uniform(size=shape) < 1 / (1 + np.exp(-2 * predictor))).astype(float),
        "Poisson": lambda: rng.poisson(np.exp(1 + predictor)).astype(float),
        "Gamma": lambda: rng.gamma(4.0, np.exp(predictor) / 4.0),
        "NegativeBinomial": lambda: rng.negative_binomial(3.0, 3.0 / (3.0 + np.exp(1 + predictor))).astype(float),
        "Gaussian": lambda: (
            predictor + np.where(states == 0, 0.3, 0.9).reshape(-1, *[1] * (len(shape) - 1)) * rng.normal(size=shape)
        ),
        "Categorical": lambda: np.floor(np.clip(1.5 + predictor + 0.5 * rng.normal(size=shape), 0, 2.99)),
    }[kind]()
    return X, made, states


def options_of(kind: str) -> dict[str, Any]:
    return {"observation_model": kind, "inverse_link_function": "exp" if kind == "Gamma" else None}


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


class TestParity:
    def test_log_likelihood(self) -> None:
        X, y = FIXTURE["X"], FIXTURE["y"]
        assert fitted_at(PARAMS).score(X, y) == pytest.approx(-362.29713291056174, abs=1e-9)
        assert GLMHMM(2).compute_loss(PARAMS, X, y) == pytest.approx(362.29713291056174, abs=1e-9)

    def test_states(self) -> None:
        model, X, y = fitted_at(PARAMS), FIXTURE["X"], FIXTURE["y"]
        np.testing.assert_allclose(model.smooth_proba(X, y), FIXTURE["smooth"], atol=1e-8)
        np.testing.assert_allclose(model.filter_proba(X, y), FIXTURE["filt"], atol=1e-8)
        np.testing.assert_array_equal(model.decode_state(X, y, state_format="index"), FIXTURE["vit"])
        np.testing.assert_array_equal(model.decode_state(X, y).argmax(1), FIXTURE["vit"])

    def test_an_em_step_stays(self) -> None:
        model, X, y = GLMHMM(2), FIXTURE["X"], FIXTURE["y"]
        state = model.initialize_optimizer_and_state(PARAMS, X, y)
        moved, state = model.update(PARAMS, state, X, y)
        for before, after in zip(PARAMS, moved, strict=True):
            np.testing.assert_allclose(after, before, atol=1e-7)
        assert state.iterations == 1
        assert state.data_log_likelihood == pytest.approx(-362.29713291056174, abs=1e-9)

    def test_a_fit_finds_the_same_optimum(self) -> None:
        X, y = FIXTURE["X"], FIXTURE["y"]
        model = GLMHMM(2, tol=1e-12, n_init=4).fit(X, y)
        order = np.argsort(FIXTURE["intercept"])
        np.testing.assert_allclose(model.coef_, FIXTURE["coef"][:, order], atol=1e-4)
        np.testing.assert_allclose(model.intercept_, FIXTURE["intercept"][order], atol=1e-4)
        assert model.log_likelihood_ == pytest.approx(float(FIXTURE["ll"]), abs=1e-4)


def brute_force(params: GLMHMMParams, density: np.ndarray) -> float:
    """log p(y) by summing over all state sequences; ``density`` (n, K)."""
    n, k = density.shape
    paths = np.array(list(itertools.product(range(k), repeat=n)))
    with np.errstate(divide="ignore"):
        initial, moves = np.log(params.initial_prob), np.log(params.transition_prob)
    total = initial[paths[:, 0]] + moves[paths[:, :-1], paths[:, 1:]].sum(1)
    return float(logsumexp(total + density[np.arange(n), paths].sum(1)))


class TestDefects:
    """What goes wrong elsewhere, one by one."""

    def test_1_score_after_fit_is_the_likelihood_of_the_fit(self, kind: str) -> None:
        X, y, _ = simulated(kind)
        model = GLMHMM(2, maxiter=15, tol=0, **options_of(kind)).fit(X, y)
        assert model.score(X, y) == pytest.approx(model.log_likelihood_, rel=1e-9)
        assert model.solver_state_.data_log_likelihood == pytest.approx(model.score(X, y), rel=1e-9)

    def test_1_the_scale_is_taken_as_it_is(self, kind: str) -> None:
        X, y, _ = simulated(kind, n=200)
        model = GLMHMM(2, maxiter=5, tol=0, **options_of(kind)).fit(X, y)
        params = GLMHMMParams(model.coef_, model.intercept_, model.scale_, model.initial_prob_, model.transition_prob_)
        emission = model.as_hmm().emission_
        data = hsmm.Sequences.from_arrays(y[:6], covariates=X[:6])
        density = emission.log_potentials(data)[0].numpy()
        assert model.score(X[:6], y[:6]) == pytest.approx(brute_force(params, density), rel=1e-10)
        if kind in SCALED:
            assert not np.allclose(model.scale_, 1.0)

    def test_1_updates_are_a_fit(self, kind: str) -> None:
        X, y, _ = simulated(kind)
        model = GLMHMM(2, maxiter=6, tol=0, **options_of(kind))
        params = model.initialize_params(X, y)
        state = model.initialize_optimizer_and_state(params, X, y)
        for _ in range(6):
            params, state = model.update(params, state, X, y)
        fit = GLMHMM(2, maxiter=6, tol=0, **options_of(kind)).fit(X, y)
        for name in ("coef_", "intercept_", "scale_", "initial_prob_", "transition_prob_"):
            np.testing.assert_allclose(getattr(model, name), getattr(fit, name), rtol=1e-8, atol=1e-10)
        again = GLMHMM(2, maxiter=6, tol=0, **options_of(kind))
        again.fit(X, y, init_params=again.initialize_params(X, y))
        np.testing.assert_allclose(again.coef_, fit.coef_, rtol=1e-12)

    def test_2_priors_enter_the_m_step(self) -> None:
        X, y, _ = simulated("Bernoulli")
        plain = GLMHMM(2).fit(X, y)
        prior = GLMHMM(2, dirichlet_initial_proba=[500.0, 500.0], dirichlet_transition_proba=np.full((2, 2), 500.0))
        prior.fit(X, y)
        assert np.abs(plain.transition_prob_ - 0.5).max() > 0.3
        np.testing.assert_allclose(prior.transition_prob_, 0.5, atol=0.1)
        np.testing.assert_allclose(prior.initial_prob_, 0.5, atol=0.01)

    def test_2_sparse_priors_are_accepted(self) -> None:
        X, y, _ = simulated("Bernoulli")
        sparse = GLMHMM(2, dirichlet_transition_proba=np.full((2, 2), 0.5), dirichlet_initial_proba=[0.5, 0.5]).fit(
            X, y
        )
        assert (sparse.transition_prob_ > 0).all()
        assert np.isfinite(sparse.log_likelihood_)

    def test_3_tolerance_acts_on_the_log_likelihood_per_observation(self) -> None:
        X, y, _ = simulated("Bernoulli")
        loose, tight = (GLMHMM(2, tol=tol).fit(X, y) for tol in (1e-3, 1e-10))
        assert loose.n_iter_ < tight.n_iter_
        assert loose.history_[-1] - loose.history_[-2] < 1e-3 * len(y)
        assert loose.history_[-2] - loose.history_[-3] >= 1e-3 * len(y)
        assert tight.solver_state_.data_log_likelihood < -100.0

    def test_4_the_reported_objective_never_falls(self, kind: str) -> None:
        X, y, _ = simulated(kind)
        model = GLMHMM(2, maxiter=25, tol=0, **options_of(kind)).fit(X, y)
        history = model.solver_state_.log_likelihood_history
        assert history.shape == (25,)
        steps = np.diff(model.history_)
        assert (steps >= -1e-10 * np.abs(model.history_[1:])).all()

    @pytest.mark.parametrize("kind", SCALED)
    def test_5_the_fit_is_the_mode_of_one_stated_posterior(self, kind: str) -> None:
        X, y, _ = simulated(kind)
        options = {"regularizer_strength": 5.0, "standardise": False, **options_of(kind)}
        model = GLMHMM(2, tol=1e-13, maxiter=3000, **options).fit(X, y)

        def posterior(params: GLMHMMParams) -> float:
            return -model.compute_loss(params, X, y) - 2.5 * float((params.coef**2).sum())

        best = GLMHMMParams(model.coef_, model.intercept_, model.scale_, model.initial_prob_, model.transition_prob_)
        for name, index in itertools.product(("coef", "intercept", "scale"), range(2)):
            for step in (1e-3, -1e-3):
                table = getattr(best, name).copy()
                table[index] = table[index] + step
                moved = best._replace(**{name: table})
                assert posterior(moved) < posterior(best) + 1e-7

    def test_6_populations(self, kind: str) -> None:
        X, y, _ = simulated(kind, n_responses=3)
        model = GLMHMM(2, maxiter=8, tol=0, **options_of(kind)).fit(X, y)
        last = (3, 2) if kind != "Categorical" else (3, 3, 2)
        assert model.coef_.shape == (2, *last)
        assert model.intercept_.shape == last
        assert model.scale_.shape == (3, 2)
        assert model.score(X, y) == pytest.approx(model.log_likelihood_, rel=1e-9)
        alone = [GLMHMM(1, maxiter=8, tol=0, **options_of(kind)).fit(X, y[:, i]).log_likelihood_ for i in range(3)]
        joint = GLMHMM(1, maxiter=8, tol=0, **options_of(kind)).fit(X, y).log_likelihood_
        assert joint == pytest.approx(sum(alone), rel=1e-6)

    def test_7_nan_at_the_border_of_any_session(self) -> None:
        X, y, _ = simulated("Bernoulli", n=120)
        starts = np.array([0, 50, 90])
        gone = np.zeros(120, dtype=bool)
        gone[[0, 1, 49, 50, 51, 89, 119]] = True
        holed = X.copy()
        holed[gone] = np.nan
        model = GLMHMM(2, maxiter=10, tol=0).fit(holed, y, session_starts=starts)
        kept = GLMHMM(2, maxiter=10, tol=0).fit(X[~gone], y[~gone], session_starts=[0, 47, 84])
        np.testing.assert_allclose(model.coef_, kept.coef_)
        smooth = model.smooth_proba(holed, y, session_starts=starts)
        np.testing.assert_array_equal(np.isnan(smooth).all(1), gone)
        np.testing.assert_allclose(smooth[~gone], kept.smooth_proba(X[~gone], y[~gone], session_starts=[0, 47, 84]))
        assert model.score(holed, y, starts) == pytest.approx(kept.score(X[~gone], y[~gone], [0, 47, 84]))

    def test_7_lists_of_session_starts(self) -> None:
        X, y, _ = simulated("Bernoulli", n=100)
        model = GLMHMM(2, maxiter=5, tol=0).fit(X, y)
        marks = np.zeros(100, dtype=bool)
        marks[[0, 40]] = True
        scores = [
            model.score(X, y, starts) for starts in ([0, 40], [40], (0, 40), marks, marks.tolist(), marks.astype(int))
        ]
        assert len(set(scores)) == 1
        assert scores[0] != model.score(X, y)

    def test_8_designs_of_one_shape_begin_differently(self) -> None:
        X, y, _ = simulated("Bernoulli")
        params = GLMHMM(2).initialize_params({"a": X, "b": X}, y)
        assert not np.allclose(params.coef["a"], params.coef["b"])

    def test_9_restarts_order_their_states_and_find_better_fits(self) -> None:
        X, y, states = simulated("Gaussian", n=600)
        once = GLMHMM(2, "Gaussian").fit(X, y)
        model = GLMHMM(2, "Gaussian", n_init=6).fit(X, y)
        assert model.log_likelihood_ >= once.log_likelihood_ - 1e-4
        assert model.intercept_[0] < model.intercept_[1]
        assert len(model.restarts_) == 6
        found = model.decode_state(X, y, state_format="index")
        assert (found == 1 - states).mean() > 0.9


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"n_states": "two"}, TypeError, "n_states"),
            ({"n_states": 2.5}, TypeError, "n_states"),
            ({"n_states": 0}, ValueError, "positive"),
            ({"n_states": -1}, ValueError, "positive"),
            ({"maxiter": 0}, ValueError, "maxiter"),
            ({"maxiter": "many"}, TypeError, "maxiter"),
            ({"tol": -1.0}, ValueError, "tol"),
            ({"tol": "small"}, TypeError, "tol"),
            ({"seed": "abc"}, TypeError, "seed"),
            ({"seed": 1.5}, TypeError, "seed"),
            ({"observation_model": "Weibull"}, ValueError, "Bernoulli, Poisson, Gamma"),
            ({"inverse_link_function": "cube"}, ValueError, "logistic"),
            ({"regularizer": "L0"}, ValueError, "UnRegularized, Ridge, Lasso"),
            ({"regularizer_strength": -1.0}, ValueError, "regularizer_strength"),
            ({"regularizer_strength": "strong"}, TypeError, "regularizer_strength"),
            ({"regularizer": "Lasso", "solver_name": "LBFGS"}, ValueError, "Newton, ProximalGradient"),
            ({"regularizer": "ElasticNet", "solver_name": "LBFGS"}, ValueError, "Newton, ProximalGradient"),
            ({"regularizer": "GroupLasso", "solver_name": "BFGS"}, ValueError, "Newton, ProximalGradient"),
            ({"solver_name": "GradientDescent"}, ValueError, "Newton, LBFGS, ProximalGradient"),
            ({"solver_name": "SVRG"}, ValueError, "Newton, LBFGS, ProximalGradient"),
            ({"solver_kwargs": {"tol": 1e-3}}, ValueError, "solver_kwargs"),
            ({"dirichlet_initial_proba": [1.0]}, ValueError, r"\(2,\)"),
            ({"dirichlet_initial_proba": [1.0, 0.0]}, ValueError, "> 0"),
            ({"dirichlet_transition_proba": [2.0, 2.0]}, ValueError, r"\(2, 2\)"),
            ({"dirichlet_transition_proba": "flat"}, TypeError, "numbers"),
            ({"hmm_initialization_funcs": {"initial_prob_init": "uniform"}}, KeyError, "initial_proba_init"),
            ({"model_initialization_funcs": {"scale_init": "flat"}}, ValueError, "constant, kmeans"),
            ({"n_init": 0}, ValueError, "n_init"),
        ],
    )
    def test_wrong_options_are_refused_at_once(self, options: dict, error: type, words: str) -> None:
        with pytest.raises(error, match=words):
            GLMHMM(**{"n_states": 2, **options})
        model = GLMHMM(2)
        with pytest.raises(error, match=words):
            model.set_params(**options)
        assert model.get_params() == GLMHMM(2).get_params()

    def test_defaults_are_those_of_nemos(self) -> None:
        found = GLMHMM(3).get_params()
        expected = {
            "observation_model": "Bernoulli",
            "regularizer": "Ridge",
            "regularizer_strength": 1.0,
            "maxiter": 1000,
            "tol": 1e-8,
            "solver_name": None,
            "dirichlet_initial_proba": None,
        }
        assert expected.items() <= found.items()

    @pytest.mark.parametrize("solver", ["Newton", "LBFGS", "ProximalGradient"])
    def test_solvers_agree(self, solver: str) -> None:
        X, y, _ = simulated("Bernoulli")
        found = GLMHMM(2, solver_name=solver, maxiter=10, tol=0).fit(X, y)
        expected = GLMHMM(2, maxiter=10, tol=0).fit(X, y)
        np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-4)

    @pytest.mark.parametrize(
        ("name", "strength"),
        [("Lasso", 20.0), ("ElasticNet", (20.0, 0.9)), (regularizers.GroupLasso([[1, 0], [0, 1]]), 20.0)],
    )
    def test_rough_penalties_set_coefficients_to_zero(self, name: Any, strength: Any) -> None:
        X, y, _ = simulated("Bernoulli")
        model = GLMHMM(2, regularizer=name, regularizer_strength=strength).fit(X, y)
        assert (model.coef_ == 0).any()
        assert model.dof_resid_ == len(y) - 2 - 1 - 2 - (model.coef_ != 0).sum()

    @pytest.mark.parametrize("link", ["logistic", "expit", "norm_cdf", "jax.scipy.special.expit", torch.sigmoid])
    def test_links(self, link: Any) -> None:
        X, y, _ = simulated("Bernoulli")
        model = GLMHMM(2, inverse_link_function=link, maxiter=10, tol=0).fit(X, y)
        assert model.score(X, y) == pytest.approx(model.log_likelihood_, rel=1e-9)

    def test_degrees_of_freedom(self) -> None:
        X, y, _ = simulated("Bernoulli")
        twice = np.column_stack([X, X[:, 0]])
        assert GLMHMM(2, maxiter=2, tol=0).fit(twice, y).dof_resid_ == 300 - 2 - 1 - 2 - 6
        assert GLMHMM(2, regularizer="UnRegularized", maxiter=2, tol=0).fit(twice, y).dof_resid_ == 300 - 2 - 1 - 2 - 4

    def test_a_fit_that_runs_out_of_iterations_says_so(self) -> None:
        X, y, _ = simulated("Bernoulli")
        with pytest.warns(RuntimeWarning, match="without converging.*raise maxiter"):
            model = GLMHMM(2, maxiter=2).fit(X, y)
        assert model.solver_state_.iterations == 2
        assert not model.solver_state_.converged

    def test_separable_responses_are_bounded_and_warned_about(self) -> None:
        X = np.linspace(-1, 1, 80)[:, None]
        y = (X[:, 0] > 0).astype(float)
        with pytest.warns(hsmm.errors.DataWarning, match="separable"):
            model = GLMHMM(1, regularizer="UnRegularized", tol=1e-6).fit(X, y)
        assert np.isfinite(model.coef_).all()

    def test_seeds(self) -> None:
        X, y, _ = simulated("Bernoulli")
        first, same = (GLMHMM(2, seed=np.array([0, 7], dtype=np.uint32)).initialize_params(X, y) for _ in range(2))
        np.testing.assert_array_equal(first.coef, same.coef)
        other, alias = GLMHMM(2, seed=5).initialize_params(X, y), GLMHMM(2, random_state=5).initialize_params(X, y)
        np.testing.assert_array_equal(other.coef, alias.coef)
        assert not np.array_equal(first.coef, other.coef)


class TestSetup:
    @pytest.mark.parametrize("initial", ["uniform", "random", "dirichlet", "kmeans"])
    @pytest.mark.parametrize("transition", ["sticky", "uniform", "random", "dirichlet", "kmeans"])
    @pytest.mark.parametrize(("glm", "scale"), [("random", "constant"), ("kmeans", "kmeans")])
    def test_every_initialiser(self, initial: str, transition: str, glm: str, scale: str) -> None:
        X, y, _ = simulated("Gaussian", n=120)
        model = GLMHMM(2, "Gaussian")
        model.setup(initial_proba_init=initial, transition_proba_init=transition, glm_params_init=glm, scale_init=scale)
        params = model.initialize_params(X, y, session_starts=[0, 60])
        np.testing.assert_allclose(params.initial_prob.sum(), 1.0)
        np.testing.assert_allclose(params.transition_prob.sum(1), 1.0)
        assert params.coef.shape == (2, 2)
        if scale == "constant":
            np.testing.assert_array_equal(params.scale, 1.0)
        if transition == "sticky":
            np.testing.assert_allclose(params.transition_prob, [[0.95, 0.05], [0.05, 0.95]])
        if initial == transition == "kmeans":
            assert min(params.initial_prob.min(), params.transition_prob.min()) > 0.019

    def test_the_default_matches_the_mean_response(self) -> None:
        X, y, _ = simulated("Poisson")
        params = GLMHMM(2, "Poisson").initialize_params(X, y)
        np.testing.assert_allclose(np.exp(params.intercept + X.mean(0) @ params.coef), y.mean())
        assert np.abs(params.coef).max() < 0.01

    def test_arguments_of_initialisers(self) -> None:
        X, y, _ = simulated("Bernoulli", n=100)
        model = GLMHMM(2)
        model.setup(transition_proba_init_kwargs={"prob_stay": 0.8}, glm_params_init_kwargs={"std_dev": 1.0})
        model.setup(initial_proba_init="dirichlet", initial_proba_init_kwargs={"alphas": [1e6, 1.0]})
        params = model.initialize_params(X, y)
        np.testing.assert_allclose(params.transition_prob[0], [0.8, 0.2])
        assert np.abs(params.coef).max() > 0.1
        assert params.initial_prob[0] > 0.99
        with pytest.raises(ValueError, match="prob_stay"):
            model.setup(transition_proba_init_kwargs={"stay": 0.8})

    def test_functions(self) -> None:
        X, y, _ = simulated("Bernoulli", n=100)
        seen = {}

        def chain(n_states: int, X: Any, y: Any, session_starts: Any, random_key: Any) -> np.ndarray:
            seen["starts"] = session_starts
            return np.array([0.25, 0.75])

        def glm(
            n_states: int,
            X: Any,
            y: Any,
            inverse_link_function: Any,
            session_starts: Any,
            random_key: Any,
            size: float = 1.0,
        ) -> tuple[np.ndarray, np.ndarray]:
            seen["mean"] = inverse_link_function(0.0)
            return np.full((X.shape[1], n_states), size), np.zeros(n_states)

        model = GLMHMM(2)
        model.setup(initial_proba_init=chain, glm_params_init=glm, glm_params_init_kwargs={"size": 3.0})
        params = model.initialize_params(X, y, session_starts=[0, 30])
        np.testing.assert_array_equal(params.initial_prob, [0.25, 0.75])
        np.testing.assert_array_equal(params.coef, 3.0)
        assert np.flatnonzero(seen["starts"]).tolist() == [0, 30]
        assert float(seen["mean"]) == 0.5
        model.fit(X, y)
        with pytest.raises(ValueError, match="random_key"):
            model.setup(initial_proba_init=lambda n_states, X, y, session_starts: None)

    def test_an_empty_cluster_is_refused(self) -> None:
        X, y = np.zeros((20, 1)), np.zeros(20)
        model = GLMHMM(3)
        model.setup(glm_params_init="kmeans")
        with pytest.raises(ValueError, match="clusters"):
            model.initialize_params(X, y)


class TestForms:
    def test_dictionaries_of_designs(self) -> None:
        X, y, _ = simulated("Bernoulli")
        named = {"speed": X[:, :1], "angle": X[:, 1:]}
        model = GLMHMM(2, n_init=2).fit(named, y)
        plain = GLMHMM(2, n_init=2).fit(X[:, ::-1], y)
        assert set(model.coef_) == {"speed", "angle"}
        assert model.coef_["speed"].shape == (1, 2)
        assert model.score(named, y) == pytest.approx(plain.score(X[:, ::-1], y), abs=1e-4)
        assert model.score({"angle": X[:, 1:], "speed": X[:, :1]}, y) == model.score(named, y)
        with pytest.raises(TypeError, match="dict"):
            model.score(X, y)
        with pytest.raises(ValueError, match="speed"):
            model.score({"angle": X[:, 1:]}, y)

    def test_simulations(self, kind: str) -> None:
        X, y, _ = simulated(kind)
        model = GLMHMM(2, maxiter=5, tol=0, **options_of(kind)).fit(X, y)
        activity, rates, states = model.simulate(3, X)
        again = model.simulate(3, X)
        np.testing.assert_array_equal(activity, again[0])
        np.testing.assert_array_equal(states, again[2])
        assert activity.shape == states.shape == (300,)
        assert rates.shape == ((300, 3) if kind == "Categorical" else (300,))
        other = model.simulate(np.random.default_rng(1), X, state_format="one-hot", session_starts=[0, 100])
        assert other[2].shape == (300, 2)
        assert np.isfinite(model.score(X, activity))
        for key in (torch.Generator().manual_seed(1), np.array([0, 42], dtype=np.uint32)):
            model.simulate(key, X)

    def test_simulated_rates_are_the_means_of_the_states(self) -> None:
        model = fitted_at(PARAMS)
        _, rates, states = model.simulate(0, FIXTURE["X"])
        expected = 1 / (1 + np.exp(-(FIXTURE["X"] @ PARAMS[0] + PARAMS[1])))
        np.testing.assert_allclose(rates, expected[np.arange(600), states], rtol=1e-12)

    def test_sessions_do_not_influence_each_other(self) -> None:
        X, y = FIXTURE["X"], FIXTURE["y"]
        model = fitted_at((*PARAMS[:3], np.array([0.4, 0.6]), PARAMS[4]))
        parts = [slice(0, 200), slice(200, 600)]
        assert model.score(X, y, [0, 200]) == pytest.approx(sum(model.score(X[p], y[p]) for p in parts), rel=1e-12)
        for name in ("smooth_proba", "filter_proba", "decode_state"):
            whole = getattr(model, name)(X, y, session_starts=[0, 200])
            np.testing.assert_array_equal(whole, np.concatenate([getattr(model, name)(X[p], y[p]) for p in parts]))

    def test_a_missing_response_within_a_session_is_marginalised(self) -> None:
        X, y = FIXTURE["X"][:30], FIXTURE["y"][:30].copy()
        model = fitted_at((*PARAMS[:3], np.array([0.4, 0.6]), PARAMS[4]))
        y[10] = np.nan
        both = [model.score(X, np.where(np.isnan(y), value, y)) for value in (0.0, 1.0)]
        assert model.score(X, y) == pytest.approx(np.logaddexp(*both), rel=1e-12)
        assert not np.isnan(model.smooth_proba(X, y)).any()
        GLMHMM(2, maxiter=5, tol=0).fit(X, y)
        with pytest.raises(ValueError, match="y has NaN at row 10"):
            GLMHMM(2, strict_nan=True).fit(X, y)
        X = X.copy()
        X[12] = np.nan
        with pytest.raises(ValueError, match="X has NaN at row 12"):
            GLMHMM(2).fit(X, y)

    def test_columns_of_a_population_may_be_missing(self) -> None:
        X, y, _ = simulated("Poisson", n_responses=2)
        y[5, 0] = y[0, 1] = np.nan
        model = GLMHMM(2, "Poisson", maxiter=10, tol=0).fit(X, y)
        assert model.smooth_proba(X, y).shape == (300, 2)
        assert not np.isnan(model.smooth_proba(X, y)).any()
        assert model.score(X, y) == pytest.approx(model.log_likelihood_, rel=1e-9)

    def test_initial_parameters_are_checked(self) -> None:
        X, y = FIXTURE["X"], FIXTURE["y"]
        model = GLMHMM(2)
        with pytest.raises(TypeError, match="tuple/list of length 5"):
            model.fit(X, y, init_params={"coef": 1})
        with pytest.raises(ValueError, match="length 5"):
            model.fit(X, y, init_params=PARAMS[:4])
        for wrong, words in (
            ((*PARAMS[:3], np.array([0.4, 0.4]), PARAMS[4]), "sum to 1"),
            ((*PARAMS[:4], PARAMS[4] * 0.5), "sum to 1"),
            ((*PARAMS[:3], np.ones(3) / 3, PARAMS[4]), "initial_prob"),
            ((PARAMS[0][:, :1], *PARAMS[1:]), "dimensionality"),
            ((np.zeros((3, 2)), *PARAMS[1:]), "features"),
        ):
            with pytest.raises(ValueError, match=words):
                model.fit(X, y, init_params=wrong)
        with pytest.raises(TypeError, match="number"):
            model.fit(X, y, init_params=("a", *PARAMS[1:]))

    @pytest.mark.parametrize(
        ("starts", "error", "words"),
        [
            (np.array([0.0, 5.0]), TypeError, "dtype"),
            (np.array([0, 600]), ValueError, "indices"),
            (np.array([-1, 3]), ValueError, "indices"),
            (np.zeros(10, dtype=bool), ValueError, "600 rows"),
            (np.zeros((2, 2), dtype=int), ValueError, "one axis"),
        ],
    )
    def test_wrong_session_starts_are_refused(self, starts: Any, error: type, words: str) -> None:
        with pytest.raises(error, match=words):
            GLMHMM(2).fit(FIXTURE["X"], FIXTURE["y"], session_starts=starts)

    def test_wrong_data_are_refused(self) -> None:
        X, y = FIXTURE["X"], FIXTURE["y"]
        model = fitted_at(PARAMS)
        for call, words in (
            (lambda: GLMHMM(2).fit(X[:5], y), "rows"),
            (lambda: GLMHMM(2).fit(X[:, 0], y), "2 dimensions"),
            (lambda: GLMHMM(2).fit(X, y + 0.5), "0 or 1"),
            (lambda: model.score(X[:, :1], y), "features"),
            (lambda: model.score(X, y[:, None]), "dimensions"),
            (lambda: model.decode_state(X, y, state_format="words"), "one-hot"),
            (lambda: model.simulate(0, X, state_format="words"), "one-hot"),
            (lambda: GLMHMM(2).simulate(0, X), "not fitted"),
            (lambda: GLMHMM(2).score(X, y), "coef_"),
        ):
            with pytest.raises(ValueError, match=words):
                call()


class TestKeeping:
    def test_cloning_and_parameters(self) -> None:
        model = GLMHMM(2, "Poisson", regularizer=regularizers.GroupLasso([[1, 0], [0, 1]]), n_init=2)
        model.setup(transition_proba_init="uniform")
        copy = clone(model)
        assert repr(copy) == repr(model)
        assert copy.get_params()["hmm_initialization_funcs"] == {"transition_proba_init": "uniform"}

    def test_cross_validation_with_sessions(self) -> None:
        import sklearn

        X, y, _ = simulated("Bernoulli")
        scores = cross_val_score(GLMHMM(2, maxiter=5, tol=0), X, y, cv=3)
        assert np.isfinite(scores).all()
        with sklearn.config_context(enable_metadata_routing=True):
            model = (
                GLMHMM(2, maxiter=5, tol=0).set_fit_request(session_starts=True).set_score_request(session_starts=True)
            )
            marks = np.arange(300) % 50 == 0
            routed = cross_val_score(model, X, y, cv=3, params={"session_starts": marks})
        assert not np.allclose(routed, scores)

    def test_saving_and_loading(self, tmp_path: Path, kind: str) -> None:
        X, y, _ = simulated(kind)
        prior = np.full((2, 2), 1.5)
        model = GLMHMM(2, maxiter=5, tol=0, dirichlet_transition_proba=prior, **options_of(kind)).fit(X, y)
        model.save(tmp_path / "folder")
        again = hsmm.load(tmp_path / "folder")
        assert isinstance(again, GLMHMM)
        assert again.score(X, y) == model.score(X, y)
        assert again.log_likelihood_ == model.log_likelihood_
        model.save_params(tmp_path / "file.npz")
        other = GLMHMM.load_params(tmp_path / "file.npz")
        assert other.score(X, y) == model.score(X, y)
        np.testing.assert_array_equal(other.get_params()["dirichlet_transition_proba"], prior)

    def test_dictionaries_and_groups_are_saved(self, tmp_path: Path) -> None:
        X, y, _ = simulated("Bernoulli")
        named = {"b": X[:, :1], "a": X[:, 1:]}
        mask = regularizers.GroupLasso([[1, 1]])
        model = GLMHMM(2, regularizer=mask, maxiter=5, tol=0).fit(named, y, session_starts=[0, 100])
        model.save(tmp_path / "folder")
        model.save_params(tmp_path / "file")
        for again in (hsmm.load(tmp_path / "folder"), GLMHMM.load_params(tmp_path / "file")):
            assert again.score(named, y) == model.score(named, y)

    def test_functions_are_given_back(self, tmp_path: Path) -> None:
        X, y, _ = simulated("Bernoulli")
        model = GLMHMM(2, inverse_link_function=torch.sigmoid, maxiter=3, tol=0).fit(X, y)
        with pytest.raises(ValueError, match="inverse_link_function"):
            model.save(tmp_path / "folder")
        model.save_params(tmp_path / "file")
        with pytest.raises(ValueError, match="mapping_dict"):
            GLMHMM.load_params(tmp_path / "file")
        again = GLMHMM.load_params(tmp_path / "file", {"inverse_link_function": torch.sigmoid})
        assert again.score(X, y) == model.score(X, y)

    def test_all_queries_of_an_hmm(self) -> None:
        X, y = FIXTURE["X"], FIXTURE["y"]
        model = fitted_at(PARAMS).as_hmm()
        assert model.score(y, context=X) == pytest.approx(float(FIXTURE["ll"]))
        assert model.forecast(y, 3, context=X, future_context=X[:3]).shape == (1, 3, 2)

    def test_pynapple_is_not_needed(self) -> None:
        code = "import sys, hsmm; hsmm.GLMHMM(2); print(sorted({'jax', 'pynapple', 'sklearn'} & set(sys.modules)))"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"

    def test_pynapple_objects(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nap = pytest.importorskip("pynapple")
        X, y = FIXTURE["X"], FIXTURE["y"]
        times = np.arange(600) * 0.1
        support = nap.IntervalSet([0.0, 30.0], [29.95, 60.0])
        data = nap.TsdFrame(t=times, d=X, time_support=support), nap.Tsd(t=times, d=y, time_support=support)
        model = fitted_at(PARAMS)
        found = model.smooth_proba(*data)
        assert type(found).__name__ == "TsdFrame"
        np.testing.assert_allclose(found.values, model.smooth_proba(X, y, session_starts=[0, 300]))
        assert type(model.decode_state(*data, state_format="index")).__name__ == "Tsd"


@pytest.mark.parametrize("ids", [[7, 7, 7, 8, 8, 8, 9, 9], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 2, 2, 2]])
def test_ids_of_sessions_are_not_taken_for_their_starts(ids: list[int]) -> None:
    X, y = np.arange(8.0)[:, None], np.tile([0.0, 1.0], 4)
    with pytest.raises(ValueError, match="session_starts repeats its numbers"):
        GLMHMM(1).fit(X, y, session_starts=ids)
    starts = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    by_index, by_mark = (GLMHMM(1).fit(X, y, session_starts=given) for given in (starts, np.isin(np.arange(8), starts)))
    assert by_index.log_likelihood_ == by_mark.log_likelihood_


def test_numbers_of_sixteen_bits_are_read() -> None:
    X, y = torch.linspace(-1.0, 1.0, 8).to(torch.bfloat16)[:, None], torch.tensor([0.0, 1.0] * 4).to(torch.bfloat16)
    assert GLMHMM(1).fit(X, y).score(X, y) == GLMHMM(1).fit(X.double(), y.double()).score(X.double(), y.double())
