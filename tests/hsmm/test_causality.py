"""No answer that is called causal looks ahead; and where something does, it is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hsmm

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
LENGTHS = [140, 20, 71]


def rows(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.integers(3, size=24).repeat(10)[:231] * 3.0 + rng.normal(size=231))[:, None]


def fitted(X: np.ndarray, lengths: object = None) -> hsmm.HSMM:
    return hsmm.HSMM(2, n_init=2, max_iter=10, tol=0.0).fit(X, lengths)


def first_rows(X: np.ndarray, lengths: np.ndarray, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    within = np.concatenate([np.arange(size) for size in lengths])
    return X[within < n], np.minimum(lengths, n)


@pytest.mark.filterwarnings("ignore::hsmm.errors.DurationWallWarning")
def test_two_hundred_cuts_of_real_prices_change_no_bit() -> None:
    prices = pl.read_parquet(EXAMPLES / "markets.parquet").sort("symbol", "date")
    returns = prices.select("symbol", (100 * pl.col("close").log().diff().over("symbol")).alias("r"))
    returns = returns.group_by("symbol", maintain_order=True).tail(400)
    X, lengths = returns["r"].to_numpy(), returns.group_by("symbol", maintain_order=True).len()["len"].to_list()
    past = first_rows(X[:, None], np.array(lengths), 250)
    model = hsmm.HSMM(3, emission="student_t", duration="negative_binomial", n_init=2, max_iter=20)
    model.set_params(tol=0.0).fit(*past)
    found = hsmm.check_causal(model, X, lengths, n_cuts=200)
    assert (found.is_causal, found.worst, found.question, found.n_cuts) == (True, 0.0, None, 200)
    assert found.n_compared > 200 * len(lengths)


@pytest.mark.parametrize("kind", [hsmm.HMM, hsmm.HSMM])
def test_models_with_context_are_causal(kind: type) -> None:
    X, context = rows(), np.random.default_rng(1).normal(size=(231, 2))
    options = {"emission": "gaussian", "transition": "contextual", "n_init": 2, "max_iter": 5, "tol": 0.0}
    model = kind(2, **options).fit(X, LENGTHS, context=context)
    found = hsmm.check_causal(model, X, LENGTHS, context=context, n_cuts=5)
    assert found.is_causal
    assert ("remaining_duration" in found.questions) == (kind is hsmm.HSMM)


class Hindsight(hsmm.HMM):
    """Calls its smoothed probabilities filtered."""

    def filter_proba(self, X, lengths=None, *, context=None, after=None):  # noqa: ARG002
        return self.predict_proba(X, lengths, context=context)


def test_hindsight_is_found_and_located() -> None:
    X = rows()
    model = Hindsight(2, n_init=2, max_iter=10, tol=0.0).fit(X, LENGTHS)
    found = hsmm.check_causal(model, X, LENGTHS, n_cuts=8)
    assert (found.is_causal, found.question) == (False, "filter_proba")
    whole = model.predict_proba(X, LENGTHS)
    start = [0, 140, 160][found.series]
    alone = model.predict_proba(X[start : start + found.kept])
    assert np.abs(whole[start + found.row] - alone[found.row]).max() == found.worst > 0


def test_parameters_from_the_future_are_found() -> None:
    X, lengths = rows(), np.array(LENGTHS)
    assert not hsmm.check_causal(fitted, X, lengths, n_cuts=2, min_rows=60).is_causal
    frozen = hsmm.check_causal(lambda X, n: fitted(*first_rows(X, n)), X, lengths, n_cuts=2, min_rows=60)
    assert frozen.is_causal


def z_scores(X: np.ndarray, lengths: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return (X - X.mean()) / X.std()


def z_scores_of_the_past(X: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    past, _ = first_rows(X, lengths)
    return (X - past.mean()) / past.std()


def rolling(X: np.ndarray, lengths: np.ndarray, center: bool = True) -> np.ndarray:
    parts = np.split(X[:, 0], np.cumsum(lengths)[:-1])
    return np.concatenate([pl.Series(part).rolling_mean(3, center=center).to_numpy() for part in parts])


@pytest.mark.parametrize(
    ("features", "is_causal"),
    [
        (z_scores, False),
        (z_scores_of_the_past, True),
        (rolling, False),
        (lambda X, lengths: rolling(X, lengths, center=False), True),
    ],
)
def test_features_that_look_ahead_are_found(features: object, is_causal: bool) -> None:
    X, lengths = rows(), np.array(LENGTHS)
    model = fitted(features(X, lengths), lengths)
    found = hsmm.check_causal(model, X, lengths, n_cuts=3, features=features, min_rows=60)
    assert found.is_causal is is_causal


def test_rows_before_the_first_value_need_no_cut() -> None:
    X = rows()
    X[:200] = np.nan
    assert hsmm.check_causal(fitted(X), X, n_cuts=5).is_causal


def test_what_cannot_be_cut_is_refused() -> None:
    model = fitted(rows())
    with pytest.raises(ValueError, match="longest series has 3 rows"):
        hsmm.check_causal(model, rows()[:5], [2, 3], min_rows=3)
    with pytest.raises(ValueError, match="n_cuts"):
        hsmm.check_causal(model, rows(), n_cuts=0)
    with pytest.raises(ValueError, match="one for each"):
        hsmm.check_causal(model, rows(), features=lambda X, _: X[1:])
