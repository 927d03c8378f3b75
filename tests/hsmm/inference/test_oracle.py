"""Before the oracle judges anything: it obeys the laws of probability itself."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests import oracle
from tests.hsmm.inference.cases import oracle_model, random_potentials

FLAGS = list(itertools.product([False, True], repeat=3))


def _model(seed: int, left_censored: bool, right_censored: bool, tail: bool, n_rows: int = 5) -> oracle.Model:
    p = random_potentials(
        seed, (n_rows,), n_durations=3, tail=tail, left_censored=left_censored, right_censored=right_censored
    )
    return oracle_model(p, 0, 0)


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("left_censored", [False, True])
def test_all_possible_data_have_probability_one(left_censored, tail):
    symbol = np.array([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])
    model = _model(0, left_censored, True, tail, n_rows=4)
    total = sum(
        np.exp(oracle.answers(replace(model, emission=symbol[:, list(data)].T)).log_likelihood)
        for data in itertools.product([0, 1], repeat=4)
    )
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("left_censored", "right_censored", "tail"), FLAGS)
def test_counts_add_up(left_censored, right_censored, tail):
    found = oracle.answers(_model(1, left_censored, right_censored, tail))
    n_segments = found.duration.sum() + found.residual.sum()
    np.testing.assert_allclose(found.state.sum(1), 1.0, atol=1e-12)
    assert found.initial.sum() == pytest.approx(1.0, abs=1e-12)
    assert found.transition.sum() == pytest.approx(n_segments - 1.0, abs=1e-12)
    assert found.residual.sum() == pytest.approx(float(left_censored), abs=1e-12)


@pytest.mark.parametrize(("left_censored", "right_censored", "tail"), FLAGS)
def test_the_future_is_not_used(left_censored, right_censored, tail):
    model = _model(2, left_censored, right_censored, tail)
    whole, cut = oracle.answers(model), oracle.answers(oracle.truncated(model, 3))
    for name in ("filtered", "log_density", "elapsed", "remaining"):
        np.testing.assert_allclose(getattr(whole, name)[:3], getattr(cut, name), atol=1e-12)
    np.testing.assert_allclose(cut.filtered[-1], cut.state[-1], atol=1e-12)
    assert cut.log_density.sum() == pytest.approx(cut.log_likelihood, abs=1e-12)


@pytest.mark.parametrize("left_censored", [False, True])
def test_a_tail_is_a_long_table(left_censored):
    model = _model(3, left_censored, True, tail=True, n_rows=4)
    long = np.zeros((4, 3, 300))
    long[..., :2] = model.duration[..., :2]
    steps = np.arange(298)
    long[..., 2:] = model.duration[..., 2:] * model.tail[:, None] ** steps * (1 - model.tail[:, None])
    with_tail, with_table = oracle.answers(model), oracle.answers(replace(model, duration=long, tail=None))
    assert with_tail.log_likelihood == pytest.approx(with_table.log_likelihood, abs=1e-12)
    assert with_tail.best_log_probability == pytest.approx(with_table.best_log_probability, abs=1e-12)
    assert with_tail.best_paths == with_table.best_paths
    np.testing.assert_allclose(with_tail.state, with_table.state, atol=1e-12)
    for name in ("elapsed", "remaining"):
        table = getattr(with_table, name)
        folded = np.column_stack([table[:, :2], table[:, 2:].sum(1)])
        np.testing.assert_allclose(getattr(with_tail, name), folded, atol=1e-12)


@pytest.mark.parametrize(("left_censored", "right_censored", "tail"), FLAGS)
def test_counts_are_slopes_of_the_log_likelihood(left_censored, right_censored, tail):
    model = _model(4, left_censored, right_censored, tail)
    residual = np.stack([model.law(0, k) for k in range(3)])
    model = replace(model, residual=residual)
    found = oracle.answers(model)
    for name in ("initial", "transition", "duration", "residual"):
        slope = _slope_along(model, name, np.ones_like(getattr(model, name)))
        assert slope == pytest.approx(getattr(found, name).sum(), abs=1e-6)
        first_state = np.zeros_like(getattr(model, name))
        first_state[..., 0] = 1.0
        assert _slope_along(model, name, first_state) == pytest.approx(
            (getattr(found, name) * first_state).sum(), abs=1e-6
        )
    if tail:
        odds = model.tail / (1 - model.tail)
        expected = (found.tail_stay - found.tail_leave * odds).sum()
        assert _slope_along(model, "tail", np.ones(3)) == pytest.approx(expected, abs=1e-6)


def _slope_along(model: oracle.Model, name: str, direction: np.ndarray, step: float = 1e-5) -> float:
    """Derivative of the log-likelihood as the logarithm of a table moves in this direction."""
    up, down = (
        oracle.answers(replace(model, **{name: getattr(model, name) * np.exp(sign * step * direction)}))
        for sign in (1, -1)
    )
    return (up.log_likelihood - down.log_likelihood) / (2 * step)
