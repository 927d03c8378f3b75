"""Residuals are standard normal under the truth and only there; shares sum to the whole."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

import hsmm
from hsmm import emissions
from hsmm.components.emission import Emission
from hsmm.models.shapley import shapley_shares

N = 1500
CONTEXT = np.random.default_rng(5).normal(size=(N, 2))
COEF = [[[0.5], [-0.3]], [[-0.6], [0.2]]]
LAWS: dict[str, tuple[Emission, Emission]] = {
    "gaussian": (
        emissions.Gaussian.from_parameters(
            mean=[[0.0, 1.0], [3.0, -1.0]], covariance=[[[1.0, 0.6], [0.6, 1.0]], [[2.0, -0.5], [-0.5, 0.5]]]
        ),
        emissions.Gaussian.from_parameters(
            mean=[[0.0, 1.0], [3.0, -1.0]], covariance=[[[0.5, 0.0], [0.0, 0.5]], [[1.0, 0.0], [0.0, 0.2]]]
        ),
    ),
    "student_t": (
        emissions.StudentT.from_parameters(mean=[[0.0], [9.0]], covariance=[[[1.0]], [[4.0]]], dof=[3.0, 5.0]),
        emissions.Gaussian.from_parameters(mean=[[0.0], [9.0]], covariance=[[[0.5]], [[2.0]]]),
    ),
    "gamma": (
        emissions.Gamma.from_parameters(mean=[[1.0], [8.0]], shape=[[2.0], [5.0]]),
        emissions.Gamma.from_parameters(mean=[[1.0], [8.0]], shape=[[1.0], [2.0]]),
    ),
    "exponential": (
        emissions.Exponential.from_parameters(mean=[[1.0], [8.0]]),
        emissions.Gamma.from_parameters(mean=[[1.0], [8.0]], shape=[[2.0], [2.0]]),
    ),
    "poisson": (emissions.Poisson.from_parameters([[1.0], [6.0]]), emissions.Poisson.from_parameters([[1.5], [7.0]])),
    "negative_binomial": (
        emissions.NegativeBinomial.from_parameters(mean=[[1.0], [9.0]], size=[[1.0], [3.0]]),
        emissions.Poisson.from_parameters([[1.0], [9.0]]),
    ),
    "bernoulli": (
        emissions.Bernoulli.from_parameters([[0.1, 0.7], [0.8, 0.3]]),
        emissions.Bernoulli.from_parameters([[0.3, 0.9], [0.9, 0.5]]),
    ),
    "mixture": (
        emissions.Mixture.from_parameters(
            [[0.3, 0.7], [0.5, 0.5]],
            emissions.Gaussian.from_parameters(
                mean=[[0.0], [4.0], [8.0], [12.0]], covariance=[[[1.0]], [[0.5]], [[1.0]], [[0.5]]]
            ),
        ),
        emissions.Gaussian.from_parameters(mean=[[2.8], [10.0]], covariance=[[[4.0]], [[4.75]]]),
    ),
    "product": (
        emissions.Product.from_parameters(
            [emissions.Poisson.from_parameters([[2.0], [5.0]]),
             emissions.Gaussian.from_parameters(mean=[[0.0], [3.0]], covariance=[[[1.0]], [[1.0]]])],
            columns=[[1], [0]],
        ),
        emissions.Product.from_parameters(
            [emissions.Poisson.from_parameters([[3.0], [6.0]]),
             emissions.Gaussian.from_parameters(mean=[[0.5], [3.5]], covariance=[[[1.0]], [[1.0]]])],
            columns=[[1], [0]],
        ),
    ),
    **{
        f"glm {family}": (
            emissions.GLM.from_parameters(COEF, [[0.2], [-0.3]], scale, family=family, inverse_link=link),
            emissions.GLM.from_parameters(COEF, [[wrong], [wrong]], scale, family=family, inverse_link=link),
        )
        for family, link, scale, wrong in (
            ("gaussian", "identity", [[1.0], [0.3]], 1.0),
            ("poisson", "exp", None, 1.0),
            ("bernoulli", "logistic", None, 1.5),
            ("gamma", "exp", [[0.5], [0.2]], 1.0),
            ("negative_binomial", "exp", [[0.5], [0.2]], 1.0),
        )
    },
}  # fmt: skip
CHAIN = {"initial_prob": [0.5, 0.5], "transition_prob": [[0.9, 0.1], [0.2, 0.8]]}


def context_of(law: Emission) -> np.ndarray | None:
    return CONTEXT if law.uses_covariates else None


@pytest.mark.parametrize("name", LAWS)
def test_residuals_are_standard_normal_under_the_truth_and_not_under_another_model(name: str) -> None:
    truth, wrong = LAWS[name]
    model, context = hsmm.HMM.from_parameters(**CHAIN, emission=truth), context_of(truth)
    X, _ = model.sample(N, random_state=1, context=context)
    for column in model.pseudo_residuals(X, context=context, ties="random", random_state=4).T:
        assert stats.kstest(column, "norm").pvalue > 0.005
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.08
    other = hsmm.HMM.from_parameters(**CHAIN, emission=wrong)
    found = other.pseudo_residuals(X, context=context, ties="random", random_state=4)
    assert min(stats.kstest(column, "norm").pvalue for column in found.T) < 1e-4


def test_values_without_order_have_no_residuals() -> None:
    symbols = emissions.Categorical.from_parameters([[0.2, 0.8], [0.6, 0.4]])
    with pytest.raises(ValueError, match="categorical emission has no distribution function"):
        hsmm.HMM.from_parameters(**CHAIN, emission=symbols).pseudo_residuals([0.0, 1.0])
    choices = emissions.GLM.from_parameters(np.zeros((2, 1, 1, 3)), np.zeros((2, 1, 3)), family="categorical")
    with pytest.raises(ValueError, match="categorical responses have no order"):
        hsmm.HMM.from_parameters(**CHAIN, emission=choices).pseudo_residuals([0.0, 1.0], context=[[0.0], [1.0]])


def test_residuals_in_the_middle_of_a_stretch_lie_between_its_ends() -> None:
    law, _ = LAWS["poisson"]
    model = hsmm.HMM.from_parameters(**CHAIN, emission=law)
    X, _ = model.sample(200, random_state=0)
    middle = model.pseudo_residuals(X)
    drawn = np.stack([model.pseudo_residuals(X, ties="random", random_state=s) for s in range(60)])
    assert (drawn.min(0) < middle).all()
    assert (middle < drawn.max(0)).all()
    assert np.array_equal(model.pseudo_residuals(X, ties="random"), model.pseudo_residuals(X, ties="random"))


def test_a_row_far_out_has_a_residual_far_out_and_a_missing_one_has_none() -> None:
    law = emissions.Gaussian.from_parameters(mean=[[0.0], [3.0]], covariance=[[[1.0]], [[1.0]]])
    model = hsmm.HMM.from_parameters(**CHAIN, emission=law)
    found = model.pseudo_residuals([0.0, -60.0, np.nan, 80.0])[:, 0]
    assert found[1] == pytest.approx(-60.0, abs=0.1)
    assert np.isnan(found[2])
    assert found[3] == pytest.approx(77.0, abs=0.1)
    with pytest.raises(ValueError, match="ties is 'none'"):
        model.pseudo_residuals([0.0], ties="none")


MODELS = {
    "hmm": hsmm.HMM.from_parameters(**CHAIN, emission=LAWS["gaussian"][0]),
    "hsmm": hsmm.HSMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.0, 1.0], [1.0, 0.0]],
        duration_prob=[[0.0, 0.2, 0.8], [0.5, 0.0, 0.5]],
        emission=LAWS["gaussian"][0],
    ),
    "product": hsmm.HMM.from_parameters(**CHAIN, emission=LAWS["product"][0]),
}
LENGTHS = [60, 30]


@pytest.mark.parametrize("name", MODELS)
class TestContributions:
    def rows(self, name: str) -> np.ndarray:
        X = MODELS[name].sample(90, random_state=3)[0]
        X[5, 0] = X[40, 1] = np.nan
        X[70] = np.nan
        return X

    def test_shares_sum_to_the_surprise(self, name: str) -> None:
        X = self.rows(name)
        found = MODELS[name].contributions(X, LENGTHS)
        assert found["surprise"].to_numpy() == pytest.approx(-MODELS[name].log_density(X, LENGTHS), abs=1e-12)
        shares = found.select("surprise_x0", "surprise_x1").to_numpy()
        assert shares.sum(1) == pytest.approx(found["surprise"].to_numpy(), abs=1e-12)
        assert np.abs([shares[5, 0], shares[40, 1], *shares[70]]).max() < 1e-12

    def test_shares_and_the_past_sum_to_the_log_odds_of_a_change(self, name: str) -> None:
        X = self.rows(name)
        found, filtered = MODELS[name].contributions(X, LENGTHS), MODELS[name].filter_proba(X, LENGTHS)
        assert found["state"].to_list() == filtered.argmax(1).tolist()
        assert [i for i, state in enumerate(found["state_before"]) if state is None] == [0, 60]
        moved = found.with_row_index().filter(pl.col("state") != pl.col("state_before"))
        assert len(moved) > 5
        rows = moved["index"].to_numpy()
        odds = np.log(filtered[rows, moved["state"]]) - np.log(filtered[rows, moved["state_before"]])
        assert moved["log_odds"].to_numpy() == pytest.approx(odds, abs=1e-6)
        shares = moved.select("log_odds_past", "log_odds_x0", "log_odds_x1").to_numpy()
        assert shares.sum(1) == pytest.approx(moved["log_odds"].to_numpy(), abs=1e-9)
        stayed = found.filter((pl.col("state") == pl.col("state_before")) | pl.col("state_before").is_null())
        assert not stayed.select("log_odds", "log_odds_past", "log_odds_x0", "log_odds_x1").to_numpy().any()


def test_the_column_that_lies_out_bears_the_surprise() -> None:
    X = MODELS["product"].sample(40, random_state=0)[0]
    X[20, 0] = 60.0
    row = MODELS["product"].contributions(X).row(20, named=True)
    assert row["surprise_x0"] > 100.0 > 20.0 > row["surprise_x1"]


class TestShapley:
    def test_independent_columns_keep_what_is_theirs_and_equal_ones_share(self) -> None:
        sums = shapley_shares(lambda columns: np.array([float(sum(columns))]), 5, 0)
        assert sums[0] == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0])
        both = shapley_shares(lambda columns: np.array([6.0 * ({0, 2} <= columns)]), 3, 0)
        assert both[0] == pytest.approx([3.0, 0.0, 3.0])

    def test_drawn_orders_sum_to_the_whole_and_come_near_the_exact_shares(self) -> None:
        weights = np.random.default_rng(0).normal(size=(9, 9))

        def value(columns: frozenset[int]) -> np.ndarray:
            own = sorted(columns)
            return np.array([weights[np.ix_(own, own)].sum()])

        shares = shapley_shares(value, 9, 1)
        assert shares.sum() == pytest.approx(weights.sum(), rel=1e-12)
        assert shares[0] == pytest.approx((weights + weights.T).sum(1) / 2.0, abs=0.8)
        assert not np.array_equal(shares, shapley_shares(value, 9, 2))


def test_an_upper_tail_is_taken_from_its_own_end() -> None:
    law = emissions.Gamma.from_parameters(mean=[[1.0], [1.0]], shape=[[1.0], [1.0]])
    found = hsmm.HMM.from_parameters(**CHAIN, emission=law).pseudo_residuals([32.0])
    assert found[0, 0] == pytest.approx(stats.norm.isf(np.exp(-32.0)), abs=1e-9)
