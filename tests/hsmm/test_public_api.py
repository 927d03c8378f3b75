"""The names that scripts rely on, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import hsmm

NAMES = {
    "DSSM",
    "Causality",
    "Estimator",
    "GLMHMM",
    "HMM",
    "HSMM",
    "PartialPooling",
    "Potentials",
    "Selection",
    "Sequences",
    "StateMatch",
    "StreamState",
    "UnitSelection",
    "check_causal",
    "context",
    "durations",
    "emissions",
    "inference",
    "initials",
    "load",
    "load_filter_state",
    "load_models",
    "match_states",
    "metrics",
    "plot",
    "regularizers",
    "save_models",
    "select_model",
    "select_units",
    "trainers",
    "transitions",
}
INFERENCE = {
    "causal",
    "log_partition",
    "posterior",
    "viterbi",
    "filtered",
    "elapsed",
    "remaining",
    "sample_paths",
    "filter_state",
    "smoothed",
}
ESTIMATOR = [
    "clone",
    "decode",
    "elapsed_duration",
    "filter_proba",
    "filter_state",
    "fit",
    "forecast",
    "from_parameters",
    "get_params",
    "log_density",
    "permuted",
    "predict",
    "predict_proba",
    "remaining_duration",
    "sample",
    "save",
    "score",
    "set_params",
]
FITTED = [
    "converged_",
    "emission_",
    "history_",
    "initial_prob_",
    "log_likelihood_",
    "n_iter_",
    "n_parameters_",
    "restarts_",
    "transition_prob_",
]


def test_every_public_name_is_there() -> None:
    assert set(hsmm.__all__) >= NAMES
    assert all(hasattr(hsmm, name) for name in hsmm.__all__)
    assert set(hsmm.inference.__all__) >= INFERENCE


def test_estimators_have_their_methods() -> None:
    for estimator in (hsmm.HMM, hsmm.HSMM):
        assert all(callable(getattr(estimator, name)) for name in ESTIMATOR)
    model = hsmm.HSMM(1, max_duration=3, n_init=1, max_iter=2, tol=0.0).fit([0.0, 1.0, 3.0])
    assert all(hasattr(model, name) for name in (*FITTED, "duration_prob_"))


def test_components_are_found_by_name_and_by_class() -> None:
    assert hsmm.emissions.EMISSIONS.keys() >= {
        *("gaussian", "student_t", "categorical", "bernoulli", "multinomial", "poisson"),
        *("negative_binomial", "gamma", "mixture", "product", "glm"),
    }
    assert hsmm.durations.DURATIONS.keys() >= {
        *("categorical", "geometric", "negative_binomial", "poisson", "gamma", "log_normal")
    }
    assert hsmm.initials.INITIALS.keys() >= {"free", "uniform", "stationary", "fixed"}
    assert hsmm.transitions.TRANSITIONS.keys() >= {"dense", "sticky", "masked", "left_to_right", "contextual", "neural"}


def test_every_public_thing_says_what_it_is() -> None:
    for name in hsmm.__all__:
        assert getattr(hsmm, name).__doc__, name
    for estimator in (hsmm.HMM, hsmm.HSMM):
        for name in ESTIMATOR:
            assert getattr(estimator, name).__doc__, name


def test_importing_the_library_touches_no_service() -> None:
    code = "import sys, hsmm; print(sorted({'prefect', 'mlflow', 'pandas', 'deltalake', 'sklearn'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
