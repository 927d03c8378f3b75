"""Rows of several scales, wild values, ties: default options still find the regimes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import hsmm
from hsmm.errors import ConvergenceWarning
from hsmm.inference import log_partition
from hsmm.metrics import aligned_accuracy
from hsmm.sequences import Sequences
from hsmm.training.objective import Objective
from hsmm.training.standing import sober_objective
from tests.hsmm.ties import PLANTED, tied_levels, watts


def two_regimes() -> tuple[np.ndarray, np.ndarray]:
    states = np.repeat([0, 1, 0], 30)
    return np.random.default_rng(0).normal(4 * states, 1), states


def fitted(model: hsmm.HMM, X: np.ndarray, **options: Any) -> hsmm.HMM:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **options)


@pytest.mark.parametrize("seed", range(3))
def test_a_state_may_be_far_narrower_than_the_data_are_wide(seed: int) -> None:
    X, states = watts()
    model = hsmm.HMM(3, random_state=seed).fit(X)
    assert model.log_likelihood_ == pytest.approx(-4705.79, abs=0.02)
    assert aligned_accuracy(states, model.predict(X)) == 1.0
    assert not model._best.collapsed


@pytest.mark.parametrize("seed", range(3))
def test_one_wild_value_is_one_row(seed: int) -> None:
    x, states = two_regimes()
    X = np.r_[x, 1e5]
    with pytest.warns(ConvergenceWarning, match=r"1 of 91 rows \(the first is row 90\): mark these rows missing"):
        model = hsmm.HMM(3, random_state=seed).fit(X)
    assert aligned_accuracy(states, model.predict(X)[:90]) == 1.0


@pytest.mark.parametrize("size", [1e2, 3e4, 1e9])
def test_heavy_tails_bear_a_wild_value(size: float) -> None:
    states = np.repeat([0, 1, 0, 1, 0], 30)
    x = np.random.default_rng(0).normal(4 * states, 1)
    x[40] = size * x.std()
    model = hsmm.HMM(2, emission="student_t").fit(x)
    assert aligned_accuracy(np.delete(states, 40), np.delete(model.predict(x), 40)) >= 0.993


def test_two_values_are_two_states() -> None:
    with pytest.warns(ConvergenceWarning, match="floored variance"):
        model = hsmm.HMM(2).fit(np.tile([1.0, 0.0], 50))
    assert model.emission_.mean_[:, 0] == pytest.approx([0.0, 1.0], abs=1e-3)
    assert model.log_likelihood_ == pytest.approx(668.2, abs=0.1)


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_a_state_at_rest_for_most_rows_is_a_regime(covariance: str) -> None:
    rng = np.random.default_rng(3)
    states = np.tile(np.repeat([0, 1], [60, 40]), 5)
    X = np.where(states[:, None] == 0, 0.0, rng.normal(0.0, 30.0, (500, 2)))
    X[:, 1] += rng.normal(0.0, 1.0, 500)
    if covariance == "spherical":
        X = X[:, :1]
    model = fitted(hsmm.HMM(2, emission=hsmm.emissions.Gaussian(covariance=covariance)), X)
    assert aligned_accuracy(states, model.predict(X)) > 0.99


@pytest.mark.parametrize("planted", PLANTED)
def test_ties_are_no_regime_beside_two_levels(planted: str) -> None:
    X, _ = tied_levels(planted)
    for n_states in (2, 3):
        model = fitted(hsmm.HMM(n_states), X)
        assert not model._best.collapsed
        assert model.emission_.covariance_.min() > 1e-3


def test_a_restart_that_is_set_aside_is_said() -> None:
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(300, 1)), 1)
    X[::7], X[1::9] = 0.5, -1.0
    with pytest.warns(ConvergenceWarning, match="set aside") as caught:
        model = hsmm.HMM(3).fit(X)
    higher = model.restarts_["objective"].max()
    assert f"{higher:.2f}" in str(caught[0].message)
    assert f"{model._best.objective:.2f}" in str(caught[0].message)
    assert higher > model.log_likelihood_


@pytest.mark.parametrize(("place", "due"), [(-200.0, 0.0), (0.5, 2.0 * np.log(101))])
def test_a_spike_owes_a_margin_but_on_rows_that_some_state_must_hold(place: float, due: float) -> None:
    """A state that lives on one row counts for what it would be were it wide; among others, for less."""
    rows = Sequences.from_arrays(np.r_[np.random.default_rng(0).normal(size=100), place])
    chain = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.99, 0.01], [0.5, 0.5]]}

    def with_spread(variance: float) -> tuple[Any, torch.Tensor]:
        law = hsmm.emissions.Gaussian.from_parameters([[0.0], [place]], [[[1.0]], [[variance]]])
        model = hsmm.HMM.from_parameters(**chain, emission=law)._fitted_model()
        return model, objective.total(log_partition(objective.potentials(model)))

    objective = Objective(rows)
    distance = np.sort(np.abs(rows.values[:, 0].numpy() - place))
    spiked, reached = with_spread(1e-9)
    _, sober = with_spread(distance[len(distance) // 2 - 1] ** 2)
    assert float(sober_objective(spiked, reached, objective)) == pytest.approx(float(sober) - due)


def _tied(law: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two lasting regimes of this law beside a covariate; a tenth of the rows hold one value."""
    rng = np.random.default_rng(5)
    states, c = np.tile(np.repeat([0, 1], 25), 8), rng.normal(size=400)
    if isinstance(law, hsmm.emissions.Gamma):
        y = rng.gamma(6.0, np.array([1.0, 5.0])[states] / 6.0)
    else:
        centre = np.array([0.0, 2.0])[states] + np.array([0.8, -0.8])[states] * c
        y = centre + 0.5 * rng.normal(size=400) if law.family == "gaussian" else rng.gamma(8.0, np.exp(centre) / 8.0)
    y[rng.choice(400, 40, replace=False)] = 1.3
    return y, c[:, None]


SPIKED = {
    "gamma": hsmm.emissions.Gamma(),
    "gaussian regression": hsmm.emissions.GLM(family="gaussian"),
    "gamma regression": hsmm.emissions.GLM(family="gamma", inverse_link="exp"),
}


@pytest.mark.parametrize("name", SPIKED)
def test_ties_are_no_regime_of_any_density(name: str) -> None:
    law = SPIKED[name]
    y, c = _tied(law)
    model = fitted(hsmm.HMM(3, emission=law), y, context=c if law.uses_covariates else None)
    assert not model._best.collapsed
    assert model._best.set_aside > 50.0


def test_repeated_headings_are_no_regime() -> None:
    """A fifth of all rows hold one angle, in neither regime's middle: no state is as narrow as they are."""
    rng = np.random.default_rng(2)
    angles = rng.vonmises(np.tile(np.repeat([0.0, 2.0], 25), 8), 4.0)
    angles[rng.choice(400, 80, replace=False)] = 0.7
    model = fitted(hsmm.HMM(3, emission="von_mises"), angles)
    assert model.emission_.concentration_.max() < 20.0
    assert model._best.set_aside > 100.0


def test_a_state_at_rest_beside_counts_is_a_regime() -> None:
    """A product is judged by its parts; counts have nothing to be judged for."""
    rng = np.random.default_rng(3)
    states = np.tile(np.repeat([0, 1], [60, 40]), 5)
    X = np.c_[np.where(states == 0, 0.0, rng.normal(0.0, 30.0, 500)), rng.poisson(3.0, 500)]
    model = fitted(hsmm.HMM(2, emission=hsmm.emissions.Product(["gaussian", "poisson"])), X)
    assert aligned_accuracy(states, model.predict(X)) > 0.99


def test_one_wild_response_is_one_row() -> None:
    rng = np.random.default_rng(5)
    states, c = np.tile(np.repeat([0, 1], 25), 8), rng.normal(size=400)
    y = np.where(states == 0, 3.0 * c, 1.0 - 2.0 * c) + 0.1 * rng.normal(size=400)
    y[7] = 1e6
    model = fitted(hsmm.HMM(3, emission=hsmm.emissions.GLM(family="gaussian")), y, context=c[:, None])
    found = np.delete(model.predict(y, context=c[:, None]), 7)
    assert aligned_accuracy(np.delete(states, 7), found) > 0.95


@pytest.mark.parametrize("unit", [(1e-6, 0.0), (1e6, 0.0), (3.0, -1e4)])
def test_units_move_nothing(unit: tuple[float, float]) -> None:
    scale, shift = unit
    for X in (watts()[0], np.r_[two_regimes()[0], 1e3]):
        plain, other = (fitted(hsmm.HMM(3), rows) for rows in (X, scale * X + shift))
        jacobian = len(X) * np.log(scale)
        assert other.log_likelihood_ + jacobian == pytest.approx(plain.log_likelihood_, rel=1e-6)
        np.testing.assert_array_equal(other.predict(scale * X + shift), plain.predict(X))


@pytest.mark.parametrize("seed", range(4))
def test_scales_that_differ_by_powers_of_ten(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_states = 2 + seed % 2
    states = np.tile(np.repeat(np.arange(n_states), 20), 10)
    size = 10.0 ** np.array([0.0, rng.uniform(-4, 4), rng.uniform(-4, 4)])[:n_states]
    X = rng.normal(0.0, size[states])
    truth = hsmm.HMM.from_parameters(
        initial_prob=np.full(n_states, 1 / n_states),
        transition_prob=np.full((n_states, n_states), 0.05 / (n_states - 1)) * (1 - np.eye(n_states))
        + 0.95 * np.eye(n_states),
        emission=hsmm.emissions.Gaussian.from_parameters(np.zeros((n_states, 1)), size[:, None, None] ** 2),
    )
    best = fitted(hsmm.HMM(n_states, n_init=1), X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        best.fit(X, start=truth)
    assert fitted(hsmm.HMM(n_states), X).log_likelihood_ >= best.log_likelihood_ - 0.05


@pytest.mark.costly
@pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
def test_many_forms_of_durations_of_few_rows_cost_no_more_steps_than_one() -> None:
    """Stays of 53 rows in five states have no best form; climbs end there all the same."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=53) + np.repeat(3.0 * rng.normal(size=9), 6)[:53]
    models = {law: fitted(hsmm.HSMM(5, duration=law), x) for law in ("negative_binomial", "geometric")}
    steps = {law: int(model.restarts_["iterations"].sum()) for law, model in models.items()}
    assert steps["negative_binomial"] <= 1.5 * steps["geometric"]
    assert models["negative_binomial"].log_likelihood_ > models["geometric"].log_likelihood_
