"""Published likelihoods of regressions that a hidden chain switches."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hsmm
from benchmarks.search_sets import problems

REFERENCE = os.environ.get("HSMM_REFERENCE_DATA") or None
pytestmark = pytest.mark.skipif(REFERENCE is None, reason="HSMM_REFERENCE_DATA names no folder")


def table(name: str) -> pl.DataFrame:
    path = Path(REFERENCE or "") / name
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)


def switching(y: np.ndarray, X: np.ndarray, n_states: int = 2, *, initial: str, tied: tuple[str, ...] = ()) -> hsmm.HMM:
    emission = hsmm.emissions.GLM(family="gaussian", tied=tied)
    return hsmm.HMM(n_states, emission=emission, initial=initial, n_init=32).fit(y, context=X)


@pytest.mark.parametrize(
    ("initial", "expected"), [("free", -312.5219), ("stationary", -312.9694), ("uniform", -313.194)]
)
def test_a_switching_autoregression(initial: str, expected: float) -> None:
    data = table("cls_mswm_example_arx.csv")
    x, y = data["x"].to_numpy(), data["y"].to_numpy()
    model = switching(y[1:], np.column_stack([x[1:], y[:-1]]), initial=initial)
    assert model.log_likelihood_ == pytest.approx(expected, abs=1e-3)
    if initial == "free":
        assert model.log_likelihood_ >= -312.5368  # as published
        second = np.zeros(300, dtype=bool)
        second[100:150] = second[180:250] = True
        found = model.predict(y[1:], context=np.column_stack([x[1:], y[:-1]])) == 1
        assert max((found == second[1:]).mean(), (found != second[1:]).mean()) > 0.95


@pytest.mark.parametrize(
    ("regressors", "n_states", "published"),
    [((), 2, -264.71069), (("ogap", "inf"), 2, -229.25614)],
)
def test_the_federal_funds_rate(regressors: tuple[str, ...], n_states: int, published: float) -> None:
    y, X = federal_funds(regressors)
    model = switching(y, X, n_states, initial="stationary", tied=("scale",))
    assert model.log_likelihood_ == pytest.approx(published, abs=1e-3)
    assert np.ptp(model.emission_.scale_) == 0.0


def test_three_regimes_of_the_federal_funds_rate_are_no_worse_than_published() -> None:
    y, X = federal_funds(("ogap", "inf"))
    assert switching(y, X, 3, initial="stationary", tied=("scale",)).log_likelihood_ > -182.27188 - 1e-3


def federal_funds(regressors: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The rate, and beside it the rate before and other regressors, where all are known."""
    data = table("econ_fedfunds_quarterly.csv")
    rate = data["fedfunds"].to_numpy()
    X = np.column_stack([rate[:-1], *(data[name].to_numpy()[1:] for name in regressors)])
    known = ~np.isnan(X).any(1) & ~np.isnan(rate[1:])
    return rate[1:][known], X[known]


@pytest.mark.parametrize(("n_states", "expected"), [(1, -16360.896), (2, -15975.672), (3, -15809.726)])
def test_choices_of_mice(n_states: int, expected: float) -> None:
    data = table("glmhmm_bolkan2022_direct_miceA.parquet")
    regressors = [name for name in data.columns if name not in ("mouse", "session", "bias", "choice_right")]
    session = (data["mouse"].cast(pl.String) + "/" + data["session"].cast(pl.String)).to_numpy()
    starts = np.r_[True, session[1:] != session[:-1]]
    X, y = data.select(regressors).to_numpy(), data["choice_right"].to_numpy()
    model = hsmm.GLMHMM(n_states, regularizer="UnRegularized", n_init=1 if n_states == 1 else 4)
    model.fit(X, y, session_starts=starts)
    assert expected - 1e-3 < model.log_likelihood_ < expected + 0.03
    assert model.score(X, y, session_starts=starts) == pytest.approx(model.log_likelihood_, rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_choices_of_mice_from_default_starts(seed: int) -> None:
    problem = problems()["choices of mice, 3"]()
    assert problem.fit(random_state=seed).log_likelihood_ > problem.published - 1e-3
