"""Frames go in and come out with their names and index, and say the same as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone

import hsmm
from hsmm.errors import DataWarning
from tests.hsmm.models.cases import QUICK

ROWS = np.random.default_rng(8).normal(size=(40, 2)) + 5.0 * (np.arange(40)[:, None] // 10 % 2)
LENGTHS = [25, 15]
DAYS = pd.date_range("2024-01-01", periods=40)
PANDAS = pd.DataFrame(ROWS, columns=["load", "heat"], index=DAYS)
POLARS = pl.DataFrame(ROWS, schema=["load", "heat"])
MODEL = hsmm.HSMM(2, max_duration=20, **QUICK).fit(PANDAS, LENGTHS)
QUERIES = {
    "predict": "state",
    "predict_proba": ["state_0", "state_1"],
    "filter_proba": ["state_0", "state_1"],
    "log_density": "log_density",
    "elapsed_duration": [f"steps_{r}" for r in range(1, 21)],
    "remaining_duration": [f"steps_{r}" for r in range(1, 21)],
}


def answering(kind: Any) -> hsmm.HSMM:
    return hsmm.HSMM(2, max_duration=20, **QUICK).set_output(kind).fit(PANDAS, LENGTHS)


@pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
@pytest.mark.parametrize("query", QUERIES)
def test_answers_are_arrays_unless_frames_are_asked_for(query: str) -> None:
    assert type(getattr(MODEL, query)(PANDAS, LENGTHS)) is np.ndarray
    assert type(getattr(answering("input"), query)(PANDAS.rename(columns=str), LENGTHS)) is not np.ndarray


@pytest.mark.filterwarnings("ignore:state . was seen to end:hsmm.errors.IntervalWarning")
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("X", [PANDAS, POLARS], ids=["pandas", "polars"])
@pytest.mark.parametrize("kind", ["pandas", "polars", "input"])
def test_frames_hold_the_same_numbers_by_name_and_index(query: str, X: Any, kind: str) -> None:
    found = getattr(answering(kind), query)(X, LENGTHS)
    package = (pd if X is PANDAS else pl) if kind == "input" else {"pandas": pd, "polars": pl}[kind]
    single = isinstance(QUERIES[query], str)
    assert isinstance(found, package.Series if single else package.DataFrame)
    assert found.name == QUERIES[query] if single else list(found.columns) == QUERIES[query]
    assert np.array_equal(found.to_numpy(), getattr(MODEL, query)(PANDAS, LENGTHS))
    if package is pd and X is PANDAS:
        assert found.index.equals(DAYS)


@pytest.mark.parametrize("X", [PANDAS["load"], POLARS["load"]], ids=["pandas", "polars"])
def test_a_series_has_the_name_of_its_feature(X: Any) -> None:
    model = hsmm.HMM(2, **QUICK).fit(X, LENGTHS)
    assert model.feature_labels == ["load"]
    assert "mean_load" in model.summary().columns
    with pytest.raises(ValueError, match="X has the columns heat; expected load"):
        model.predict(X.rename("heat"))
    assert hsmm.HMM(2, **QUICK).fit(X.rename("")).feature_labels == ["x0"]


@pytest.mark.filterwarnings("ignore:X has no feature names:hsmm.errors.DataWarning")
def test_what_is_no_frame_is_answered_with_arrays_by_input() -> None:
    assert type(answering("input").predict(ROWS, LENGTHS)) is np.ndarray


def test_samples_have_the_names_of_the_features() -> None:
    X, states = answering("polars").sample(5)
    assert X.columns == ["load", "heat"]
    assert (len(X), states.name) == (5, "state")


@pytest.mark.parametrize("frame", [PANDAS, POLARS], ids=["pandas", "polars"])
def test_features_are_remembered_by_name_and_checked(frame: Any, tmp_path: Path) -> None:
    model = hsmm.HMM(2, **QUICK).fit(frame, LENGTHS)
    for known in (model, hsmm.load(model.save(tmp_path))):
        assert known.feature_names_in_.tolist() == ["load", "heat"]
        with pytest.raises(ValueError, match=r"columns heat, load; expected load, heat, in this order"):
            known.predict(frame[["heat", "load"]], LENGTHS)
        with pytest.raises(ValueError, match=r"columns load, warmth; expected load, heat"):
            known.score(
                frame.rename({"heat": "warmth"}) if frame is POLARS else frame.rename(columns={"heat": "warmth"})
            )
        with pytest.warns(DataWarning, match="X has no feature names"):
            known.predict(ROWS, LENGTHS)
    assert not hasattr(model.fit(ROWS, LENGTHS), "feature_names_in_")
    model.predict(frame, LENGTHS)


def test_the_best_of_a_selection_knows_its_features() -> None:
    best = hsmm.select_model(PANDAS, [hsmm.HMM(2, **QUICK)], LENGTHS).best
    assert best.feature_names_in_.tolist() == ["load", "heat"]


def test_columns_without_text_for_names_are_no_names() -> None:
    assert not hasattr(hsmm.HMM(2, **QUICK).fit(pd.DataFrame(ROWS)), "feature_names_in_")


def test_what_pandas_knows_as_missing_is_missing() -> None:
    gappy = ROWS.copy()
    gappy[3, 1] = np.nan
    whole = pd.DataFrame(gappy, columns=["load", "heat"]).convert_dtypes()
    assert str(whole.dtypes.iloc[1]) == "Float64"
    assert MODEL.score(whole) == hsmm.HSMM(2, max_duration=20, **QUICK).fit(ROWS, LENGTHS).score(gappy)
    with pytest.raises(ValueError, match="not numbers"):
        hsmm.HMM(2).fit(pd.DataFrame({"x": ["1.5", "2.5"]}))


def test_clones_answer_in_the_same_kind() -> None:
    for copied in (clone(answering("polars")), answering("polars").clone()):
        assert isinstance(copied.fit(POLARS).predict(POLARS), pl.Series)


def test_models_with_laws_of_time_to_come_answer_in_the_same_kind() -> None:
    chain = hsmm.HMM(2, **QUICK).set_output("polars").fit(POLARS, LENGTHS)
    for model in (chain, answering("polars")):
        assert isinstance(model.with_predictive_durations().predict(POLARS, LENGTHS), pl.Series)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"transform is 'panda'; expected .*polars; did you mean 'pandas'\?"):
        hsmm.HMM().set_output("panda")
    assert isinstance(answering("polars").set_output(transform=None).predict(POLARS), pl.Series)


def test_frames_do_not_disturb_who_asks_within() -> None:
    model = answering("pandas")
    assert hsmm.check_causal(model, PANDAS, LENGTHS, n_cuts=2).is_causal
    assert hsmm.match_states(model, MODEL, PANDAS, LENGTHS).permutation.tolist() == [0, 1]
