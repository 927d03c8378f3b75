"""Which number of states is chosen where some rows are tied, or states differ in size by powers of ten."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

import hsmm
from hsmm.metrics import aligned_accuracy
from tests.hsmm.ties import PLANTED, held_values, tied_levels, watts


def chosen(X: np.ndarray, sizes: tuple[int, ...], estimator: Callable[[int], hsmm.HMM] = hsmm.HMM) -> hsmm.HMM:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hsmm.select_model(X, [estimator(k) for k in sizes]).best


def test_a_meter_that_is_off_idle_and_on_has_three_states() -> None:
    X, states = watts()
    best = chosen(X, (2, 3))
    assert aligned_accuracy(states, best.predict(X)) == 1.0
    assert best.log_likelihood_ == pytest.approx(-4705.79, abs=0.01)


@pytest.mark.parametrize("planted", PLANTED)
def test_ties_are_not_chosen_as_a_state(planted: str) -> None:
    X, states = tied_levels(planted)
    best = chosen(X, (1, 2, 3))
    assert best.n_states == 2
    assert aligned_accuracy(states, best.predict(X)) > 0.99


def autoregressive(n_states: int) -> hsmm.HMM:
    return hsmm.HMM(n_states, emission=hsmm.emissions.AutoregressiveGaussian(), n_init=8, tol=1e-7)


@pytest.mark.parametrize("planted", ["rounded", "held"])
def test_values_that_repeat_are_not_chosen_as_a_state_that_foretells_them(planted: str) -> None:
    X, _ = held_values() if planted == "held" else tied_levels(planted)
    best = chosen(X, (2, 3), autoregressive)
    assert best.n_states == 2
    assert best.emission_.covariance_.min() > 0.5


@pytest.mark.filterwarnings("ignore::hsmm.errors.ConvergenceWarning")
def test_a_state_may_foretell_its_rows_far_better_than_others_do() -> None:
    """Values that wander by a thousandth, and by one, are two regimes of which neither is a spike."""
    rng = np.random.default_rng(0)
    states = np.tile(np.repeat([0, 1], 40), 4)
    X = np.cumsum(rng.normal(size=320) * np.array([1e-3, 1.0])[states])
    model = autoregressive(2).fit(X)
    assert aligned_accuracy(states, model.predict(X)) > 0.97
    assert model.emission_.covariance_.min() < 1e-5
