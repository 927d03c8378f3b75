"""Calibration: right forecasts lie inside their band, wrong ones outside; where a series ends counts for nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hsmm
from tasks.fitting.decode import remaining_columns
from tasks.fitting.scaling import Scaling
from tasks.report.calibration import (
    LEVELS,
    Outcomes,
    frequency,
    intervals,
    outcomes,
    reliability,
    residuals,
)
from tasks.report.page.data import ChosenModel, PageData
from tasks.report.page.view_calibration import calibration, reliability_plot

START = datetime(2024, 1, 1, tzinfo=UTC)
N_SERIES, N_ROWS, LONGEST = 12, 600, 60


def model_of(duration: np.ndarray, spread: float = 1.0) -> hsmm.HSMM:
    return hsmm.HSMM.from_parameters(
        initial_prob=np.array([0.5, 0.5]),
        transition_prob=np.array([[0.0, 1.0], [1.0, 0.0]]),
        duration_prob=np.tile(duration, (2, 1)),
        emission=hsmm.emissions.Gaussian.from_parameters(mean=[[0.0], [4.0]], covariance=np.full((2, 1, 1), spread)),
        right_censored=True,
    )


def law(kind: str) -> np.ndarray:
    """P(duration = 1 … 60), of mean ten: all alike within two steps, or without memory."""
    steps = np.arange(1, LONGEST + 1)
    weights = (np.abs(steps - 10) <= 1) * 1.0 if kind == "regular" else 0.9**steps
    return weights / weights.sum()


def simulated(model: hsmm.HSMM) -> tuple[np.ndarray, list[int]]:
    X = np.concatenate([model.sample(N_ROWS, random_state=seed)[0] for seed in range(N_SERIES)])
    return X, [N_ROWS] * N_SERIES


def forecasts(model: hsmm.HSMM, X: np.ndarray, lengths: list[int]) -> pl.DataFrame:
    """The columns of the table that say how long states will last."""
    times = [START + timedelta(hours=i) for _ in lengths for i in range(N_ROWS)]
    series = np.repeat(np.arange(len(lengths)), lengths).astype(str)
    remaining = model.decode(X, lengths).remaining_duration
    return pl.DataFrame({"series_id": series, "time": times}).with_columns(*remaining_columns(remaining))


@pytest.fixture(scope="module")
def regular() -> tuple[np.ndarray, list[int]]:
    return simulated(model_of(law("regular")))


def asked(model: hsmm.HSMM, X: np.ndarray, lengths: list[int]) -> tuple[pl.DataFrame, Outcomes]:
    return forecasts(model, X, lengths), outcomes(model.sample_paths(X, lengths, n_paths=8), lengths)


@pytest.mark.parametrize("kind", ["regular", "forgetful"])
def test_forecasts_of_the_model_that_made_the_data_lie_inside_their_bands(kind: str) -> None:
    model = model_of(law(kind))
    rows, found = asked(model, *simulated(model))
    lasting = intervals(rows, found)
    assert [(of.above, of.below) for of in lasting.quantiles] == [(0.0, 0.0)] * len(LEVELS)
    assert lasting.inside.happened > 0.8 - lasting.inside.band()
    for horizon in (1, 5):
        groups = reliability(rows, found, horizon)
        assert len(groups) >= 3
        assert all(abs(of.happened - of.said) <= of.band(len(groups)) for of in groups)


def test_a_wrong_law_of_durations_falls_outside(regular: tuple[np.ndarray, list[int]]) -> None:
    rows, found = asked(model_of(law("forgetful")), *regular)
    assert any(of.above or of.below for of in intervals(rows, found).quantiles)
    groups = reliability(rows, found, 5)
    assert any(abs(of.happened - of.said) > of.band(len(groups)) for of in groups)


def page_data_of(model: hsmm.HSMM, X: np.ndarray, lengths: list[int], *, in_sample: bool) -> PageData:
    scaling = Scaling(["level"], pl.DataFrame({"series_id": ["*"], "mean:level": [0.0], "scale:level": [1.0]}))
    rows = forecasts(model, X, lengths).with_columns(pl.Series("level", X[:, 0]), in_sample=pl.lit(in_sample))
    return PageData("toy", {}, rows, {"level": "units"}, rows, rows, None, [ChosenModel(model, scaling)])


def test_the_page_says_in_one_sentence_whether_forecasts_came_true(regular: tuple[np.ndarray, list[int]]) -> None:
    right = calibration(page_data_of(model_of(law("regular")), *regular, in_sample=False))
    assert right["where"].startswith("7,200 rows that the parameters had not seen")
    assert "within chance" in right["intervals_verdict"]
    assert "means what it says" in right["reliability_verdict"]
    assert [verdict.split(":")[0] for *_, verdict in right["residuals"]] == ["As it should be"]
    wrong = calibration(page_data_of(model_of(law("forgetful"), 0.5), *regular, in_sample=True))
    assert "100.0 %: a test of fit" in wrong["where"]
    assert "within chance" not in wrong["intervals_verdict"]
    assert "outside what chance allows" in wrong["reliability_verdict"]
    assert "heavier tails" in wrong["residuals"][0][-1]


def test_what_cannot_be_tested_is_said(regular: tuple[np.ndarray, list[int]]) -> None:
    data = page_data_of(model_of(law("regular")), *regular, in_sample=True)
    assert calibration(replace(data, models=()))["why_not"]
    assert calibration(replace(data, rows=data.rows.drop("level")))["why_not"]
    assert calibration(replace(data, rows=data.rows.with_columns(remaining_p90=pl.lit(None))))["why_not"]
    few = calibration(replace(data, rows=data.rows.head(30)))
    assert "Too few stays" in few["intervals_verdict"]
    assert "Too few stays" in few["reliability_verdict"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=12), st.integers(1, 6))
def test_what_happened_is_what_the_path_says(walk: list[tuple[int, int]], n_last: int) -> None:
    path = np.concatenate([[state] * length for state, length in walk])
    lengths = [len(path), n_last]
    whole = np.append(path, [path[-1]] * n_last)
    found = outcomes(np.stack([whole, 2 - whole]), lengths)
    for row in range(len(path)):
        same = np.flatnonzero(path[row:] != path[row])
        assert found.left[row] == len(path) - row
        assert (found.remaining[:, row] == (same[0] if len(same) else len(path) - row)).all()
    assert found.remaining[0, len(path) :].tolist() == list(range(n_last, 0, -1))
    assert not set(found.stay[0]) & set(found.stay[1])
    assert len(np.unique(found.stay[0])) == len(np.unique(found.stay[1]))


def test_stays_cut_off_by_the_end_of_their_series_count_neither_as_short_nor_as_none() -> None:
    generator = np.random.default_rng(0)
    lengths = [25] * 4000
    path = np.concatenate([np.repeat(np.arange(40) % 2, generator.geometric(0.1, 40))[:25] for _ in lengths])
    found = outcomes(path[None], lengths)
    steps = {f"remaining_p{round(100 * p)}": np.ceil(np.log(1 - p) / np.log(0.9)) for p in LEVELS}
    rows = pl.DataFrame({name: np.full(len(path), value) for name, value in steps.items()})
    rows = rows.with_columns(p_change_5=pl.lit(1 - 0.9**5))
    lasting = intervals(rows, found)
    assert [(of.above, of.below) for of in lasting.quantiles] == [(0.0, 0.0)] * 3
    (group,) = reliability(rows, found, 5)
    assert abs(group.happened - group.said) <= group.band()
    assert group.error < 0.01
    plotted = {one["name"]: one["y"] for one in reliability_plot([group])["lines"]}
    assert plotted["happened"].count(None) == len(plotted["happened"]) - 1
    for name in ("if right", "upper", "lower"):  # a line is seen, though there is one point
        assert len(plotted[name]) > 1
        assert None not in plotted[name]


def test_rows_of_one_stay_are_one_draw() -> None:
    generator = np.random.default_rng(0)
    n_stays, length = 200, 30
    came = np.repeat(generator.random(n_stays) < 0.3, length)[None]
    stay = np.repeat(np.arange(n_stays), length)[None]
    found = frequency(np.full(n_stays * length, 0.3), came, stay)
    assert found.n_stays == n_stays
    assert found.error == pytest.approx(np.sqrt(0.3 * 0.7 / n_stays), rel=0.15)


def test_pseudo_residuals_tell_a_right_law_from_a_wrong_one(regular: tuple[np.ndarray, list[int]]) -> None:
    X, lengths = regular
    series = np.repeat(np.arange(len(lengths)), lengths)
    right, wide = (
        residuals(model_of(law("regular"), spread).pseudo_residuals(X, lengths)[:, 0], series) for spread in (1.0, 1.5)
    )
    assert right is not None
    assert wide is not None
    assert right.distance <= right.allowed < wide.distance
    assert wide.beyond < 0.005 < right.beyond < 0.015
    assert abs(right.correlation) <= 2 * right.allowed_correlation


def test_residuals_that_follow_one_another_are_told() -> None:
    generator = np.random.default_rng(0)
    steps = generator.normal(size=4000)
    chained = np.convolve(steps, [0.8, 0.6], mode="same")
    found = residuals(chained, np.zeros(4000))
    assert found is not None
    assert found.correlation == pytest.approx(0.48, abs=0.05)
    alone = residuals(chained[:40], np.arange(40))
    assert alone is not None
    assert alone.correlation == 0.0
