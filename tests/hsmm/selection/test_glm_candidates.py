"""A GLM-HMM among candidates: what it is worth is what the HMM that it is would be worth, on the same rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import hsmm
from hsmm import GLMHMM, HMM
from hsmm.selection import CRITERIA, KFold
from hsmm.selection.splits import LastShare
from tests.costly import costly_beyond

STARTS = [0, 150, 300]
LENGTHS = [150, 150, 100]
GLM = hsmm.emissions.GLM(family="bernoulli", regularizer="ridge", strength=1.0, standardise="decade")


def choices() -> tuple[np.ndarray, np.ndarray]:
    """Covariates and choices of two strategies that last, a session's first row without a covariate."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 2))
    sign = np.where(np.arange(400) // 40 % 2, 3.0, -3.0)
    y = (rng.uniform(size=400) < 1 / (1 + np.exp(-sign * X[:, 0]))).astype(float)
    y[[20, 200]] = np.nan
    X[150] = np.nan
    return X, y


X, y = choices()
KEPT = np.isfinite(X).all(1)
SEQUENCES = hsmm.Sequences.from_arrays(y[KEPT], [150, 149, 100], X[KEPT])
CANDIDATES: list[Any] = [
    GLMHMM(1),
    GLMHMM(2, regularizer_strength=0.1, n_init=3),
    GLMHMM(2, regularizer="Lasso", n_init=2),
    HMM(1, emission=GLM, n_init=1),
    HMM(2, emission="bernoulli", n_init=2),
]


@pytest.fixture(scope="module", params=costly_beyond(1, sorted(CRITERIA, key="held_out".__ne__)))
def found(request: pytest.FixtureRequest) -> hsmm.Selection:
    return hsmm.select_model(X, CANDIDATES, y=y, session_starts=STARTS, criterion=request.param)


def test_each_row_is_that_of_the_hmm_it_stands_for(found: hsmm.Selection) -> None:
    n_rows = SEQUENCES.n_observed_rows
    for row in found.table.iter_rows(named=True):
        model = found.models[row["candidate"]]
        stood_for = model.as_hmm() if isinstance(model, GLMHMM) else model
        rows = SEQUENCES if stood_for.uses_context else hsmm.Sequences.from_arrays(y[KEPT], [150, 149, 100])
        reached, p = stood_for.score_sequences(rows), row["n_parameters"]
        assert p == stood_for.n_parameters_
        assert row["log_likelihood"] == pytest.approx(reached, abs=1e-8)
        assert row["aic"] == pytest.approx(2 * p - 2 * reached)
        assert row["bic"] == pytest.approx(p * math.log(n_rows) - 2 * reached)
        assert row["hqc"] == pytest.approx(2 * p * math.log(math.log(n_rows)) - 2 * reached)
        assert row["icl"] == pytest.approx(p * math.log(n_rows) - 2 * stood_for.log_joint(rows))


def test_one_regression_is_worth_the_same_by_either_name(found: hsmm.Selection) -> None:
    rows = {row["candidate"]: row for row in found.table.iter_rows(named=True)}
    names = ["n_states", "emission", "family", "regularizer", "strength", "log_likelihood", *CRITERIA]
    for name in names:
        one, other = rows[0][name], rows[3][name]
        assert one == pytest.approx(other, rel=1e-6, nan_ok=True) if isinstance(one, float) else one == other
    assert found.reasons[0] == found.reasons[3]


def test_each_candidate_is_told_by_what_sets_it_apart(found: hsmm.Selection) -> None:
    apart = ["n_states", "emission", "duration", "family", "inverse_link", "regularizer", "strength"]
    assert found.table.columns[:8] == ["candidate", *apart]
    told = found.table.sort("candidate").select("n_states", "emission", "family", "regularizer", "strength").rows()
    assert told == [
        (1, "glm", "bernoulli", "ridge", 1.0),
        (2, "glm", "bernoulli", "ridge", 0.1),
        (2, "glm", "bernoulli", "lasso", 1.0),
        (1, "glm", "bernoulli", "ridge", 1.0),
        (2, "bernoulli", None, None, None),
    ]


def test_a_candidate_is_fitted_as_fit_does(found: hsmm.Selection) -> None:
    direct = GLMHMM(2, regularizer_strength=0.1, n_init=3).fit(X, y, session_starts=STARTS)
    for name in ("coef_", "intercept_", "scale_", "initial_prob_", "transition_prob_", "dof_resid_"):
        np.testing.assert_array_equal(getattr(found.models[1], name), getattr(direct, name))


@pytest.mark.parametrize("splits", [LastShare(), KFold(3, random_state=0)])
def test_held_out_rows_are_scored_by_the_hmm_of_each_fold(splits: Any) -> None:
    found = hsmm.select_model(X, CANDIDATES[:2], y=y, session_starts=STARTS, criterion="held_out", splits=splits)
    total, count = 0.0, 0.0
    for fold in splits.split(SEQUENCES):
        table = torch.where(fold.train.observed, fold.train.values, torch.nan)[:, 0].numpy()
        covariates, begins = fold.train.covariates.numpy(), fold.train.offsets[:-1].numpy()
        model = CANDIDATES[1].clone().fit(covariates, table, session_starts=begins).as_hmm()
        density = model.log_density_sequences(fold.scored)
        total += float(fold.sums(density).sum())
        count += float(fold.sums(torch.ones_like(density)).sum())
    assert found.table.filter(candidate=1)["held_out"].item() == pytest.approx(total / count, abs=1e-10)


def test_lengths_say_where_sessions_start() -> None:
    by_starts = hsmm.select_model(X, CANDIDATES[:2], y=y, session_starts=STARTS).table
    assert hsmm.select_model(X, CANDIDATES[:2], LENGTHS, y=y).table.equals(by_starts)
    whole = np.nan_to_num(X)
    one = hsmm.select_model(whole, CANDIDATES[:2], [400], y=y).table
    assert not hsmm.select_model(whole, CANDIDATES[:2], LENGTHS, y=y).table.equals(one)


def test_the_best_answers() -> None:
    found = hsmm.select_model(X, CANDIDATES[:2], y=y, session_starts=STARTS)
    best = found.best
    assert isinstance(best, GLMHMM)
    assert best.n_states == 2
    hmm, rows = best.as_hmm(), {"lengths": [150, 149, 100], "context": X[KEPT]}
    asked = (X, y, STARTS)
    np.testing.assert_array_equal(best.predict(*asked)[KEPT], hmm.predict(y[KEPT], **rows))
    np.testing.assert_array_equal(best.predict_proba(*asked)[KEPT], hmm.predict_proba(y[KEPT], **rows))
    ours, theirs = best.confidence_intervals(*asked), hmm.confidence_intervals(y[KEPT], **rows)
    assert ours.select("parameter", "state", "index").equals(theirs.select("parameter", "state", "index"))
    np.testing.assert_allclose(ours["std_error"].to_numpy(), theirs["std_error"].to_numpy(), rtol=1e-5)
    p = best.expected_response(*asked)[KEPT]
    seen = np.isfinite(y[KEPT])
    told = np.where(y[KEPT] == 1, p, 1 - p)[seen]
    np.testing.assert_allclose(np.log(told), hmm.log_density(y[KEPT], **rows)[seen], atol=1e-10)


def test_designs_by_name_and_tables_of_responses_keep_their_form() -> None:
    designs = {"left": X[:, :1], "right": X[:, 1:]}
    best = hsmm.select_model(designs, CANDIDATES[:2], y=y[:, None], session_starts=STARTS).best
    assert set(best.coef_) == {"left", "right"}
    assert best.intercept_.shape == (1, 2)
    assert best.expected_response(designs, y[:, None], STARTS).shape == (400, 1)


def test_known_states_and_starts_are_taken() -> None:
    truth = np.where(np.arange(400) // 40 % 2, 0, 1)
    one = GLMHMM(2)
    found = hsmm.select_model(X, [one], y=y, session_starts=STARTS, states=truth)
    assert (found.best.predict(X, y, STARTS)[KEPT] == truth[KEPT]).mean() > 0.8
    begun = hsmm.select_model(X, [one], y=y, session_starts=STARTS, starts=[found.best]).best
    assert begun.n_iter_ < one.clone().fit(X, y, session_starts=STARTS).n_iter_


def test_a_strict_candidate_refuses_missing_responses_for_all() -> None:
    with pytest.raises(ValueError, match="y has NaN at row 20, within a session"):
        hsmm.select_model(X, [GLMHMM(1), GLMHMM(2, strict_nan=True)], y=y, session_starts=STARTS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give the responses as y="),
        ({"y": y, "context": X}, "context is given beside y"),
        ({"y": y, "lengths": LENGTHS, "session_starts": STARTS}, "lengths and session_starts are both given"),
        ({"y": y, "lengths": [10]}, "lengths"),
        ({"y": y[:-1]}, "400 rows, but y has 399"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hsmm.select_model(X, [GLMHMM(1)], **given)


def test_sessions_need_responses() -> None:
    with pytest.raises(ValueError, match="session_starts are given without y"):
        hsmm.select_model(y[:, None], [HMM(1)], session_starts=STARTS)


def test_the_table_can_be_written() -> None:
    table = hsmm.select_model(X, CANDIDATES, y=y, session_starts=STARTS).table
    assert pl.DataFrame(table.rows(named=True), schema=table.schema).equals(table)
