"""Which number of states is chosen where some rows are tied, or states differ in size by powers of ten."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

import hsmm
from hsmm.metrics import aligned_accuracy
from tests.hsmm.ties import PLANTED, tied_levels, watts


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
