"""Transforms are what they say, never see the future, and treat a missing value as they say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from tasks.config.ops import GAPS, OPS
from tasks.config.sections.feature import Feature
from tasks.source.features import add_features

_OPTIONS = {"window": 5, "lag": 3, "half_life": 4.0, "low": 0.4, "high": 2.5}
_OPTIONS |= {"period": "day", "dates": (date(2024, 1, 8),)}
_COLUMNS = ({}, {"column": "close"}, {"columns": ("high", "close")})
HOLE = 17


def feature(name: str) -> Feature:
    op = OPS[name]
    return Feature(op=name, **_COLUMNS[op.n_columns], **{key: _OPTIONS[key] for key in (*op.needs, *op.one_of)})


FEATURES = {name: feature(name) for name in OPS}


@pytest.fixture
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    times = [datetime(2024, 1, 1, 5, tzinfo=UTC) + timedelta(hours=13 * i) for i in range(40)] * 2
    frame = pl.DataFrame(
        {"series_id": ["A"] * 40 + ["B"] * 40, "time": times, "raw:close": np.exp(rng.normal(size=80))}
    )
    return frame.with_columns((pl.col("raw:close") * rng.uniform(1, 2, 80)).alias("raw:high"))


@pytest.fixture
def holed(rows: pl.DataFrame) -> pl.DataFrame:
    hole = pl.int_range(pl.len()) % 11 == 7
    return rows.with_columns(pl.when(~hole).then("raw:close").alias("raw:close"))


def test_each_op_is_its_formula() -> None:
    times = [datetime(2024, 1, 7, 22, tzinfo=UTC) + timedelta(hours=i) for i in range(3)]
    frame = pl.DataFrame({"series_id": "A", "time": times, "raw:close": [1.0, 2.0, 8.0], "raw:high": [2.0, 2.0, 16.0]})
    smaller = {"window": 2, "lag": 2, "half_life": 1.0, "low": 1.5}
    two = {
        name: f.model_copy(update={key: value for key, value in smaller.items() if getattr(f, key) is not None})
        for name, f in FEATURES.items()
    }
    made = add_features(frame, two, "Europe/Paris")
    weighted = (0.25 + 1.0 + 8.0) / 1.75
    expected = {
        "identity": [1.0, 2.0, 8.0],
        "log": np.log([1.0, 2.0, 8.0]),
        "diff": [None, 1.0, 6.0],
        "log_return": [None, np.log(2.0), np.log(4.0)],
        "pct_change": [None, 1.0, 3.0],
        "ratio": [2.0, 1.0, 2.0],
        "log_ratio": [np.log(2.0), 0.0, np.log(2.0)],
        "clip": [1.5, 2.0, 2.5],
        "lag": [None, None, 1.0],
        "rolling_mean": [None, 1.5, 5.0],
        "rolling_std": [None, np.sqrt(0.5), np.sqrt(18.0)],
        "zscore_rolling": [None, np.sqrt(0.5), np.sqrt(0.5)],
        "ewm_mean": [1.0, 5.0 / 3.0, weighted],
        "ewm_std": [None, np.sqrt(0.5), _ewm_std([1.0, 2.0, 8.0], weighted)],
        "day_of_week": [6.0, 0.0, 0.0],
        "hour": [23.0, 0.0, 1.0],
        "month": [1.0, 1.0, 1.0],
        "cosine": np.cos(2.0 * np.pi * np.array([23.0, 0.0, 1.0]) / 24.0),
        "sine": np.sin(2.0 * np.pi * np.array([23.0, 0.0, 1.0]) / 24.0),
        "holiday": [0.0, 1.0, 1.0],
    }
    assert expected.keys() <= OPS.keys()
    for name, values in expected.items():
        assert made[name].to_list() == pytest.approx(list(values), nan_ok=True), name


@pytest.mark.parametrize(
    ("period", "middle"),
    [("day", (2024, 1, 9, 12)), ("week", (2024, 1, 11, 12)), ("year", (2024, 7, 2)), ("year", (2023, 7, 2, 12))],
)
def test_what_comes_round_has_its_middle_half_a_round_away(period: str, middle: tuple[int, ...]) -> None:
    times = [datetime(*middle) - timedelta(seconds=1), datetime(*middle), datetime(*middle) + timedelta(seconds=1)]
    frame = pl.DataFrame({"series_id": "A", "time": times}).with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    wave = {op: Feature(op=op, period=period) for op in ("cosine", "sine")}
    made = add_features(frame, wave)
    assert made["cosine"][1] == pytest.approx(-1.0)
    assert made["sine"][0] > 0.0 > made["sine"][2]


def _ewm_std(values: list[float], mean: float) -> float:
    """The weighted standard deviation, without bias, for weights 1/4, 1/2, 1."""
    weights = np.array([0.25, 0.5, 1.0]) / 1.75
    return float(np.sqrt((weights * (np.array(values) - mean) ** 2).sum() / (1.0 - (weights**2).sum())))


@pytest.mark.parametrize("n_kept", [1, 7, 8, 23, 39])
def test_cutting_the_future_changes_no_bit_of_the_past(holed: pl.DataFrame, n_kept: int) -> None:
    cut = holed.group_by("series_id", maintain_order=True).head(n_kept)
    whole = add_features(holed, FEATURES).group_by("series_id", maintain_order=True).head(n_kept)
    assert add_features(cut, FEATURES).equals(whole)


def test_a_series_does_not_feel_its_neighbours(holed: pl.DataFrame) -> None:
    alone = add_features(holed.filter(pl.col("series_id") == "B"), FEATURES)
    assert alone.equals(add_features(holed, FEATURES).filter(pl.col("series_id") == "B"))


@pytest.mark.parametrize("name", OPS)
def test_a_missing_value_does_what_the_op_says(rows: pl.DataFrame, name: str) -> None:
    op, one = OPS[name], rows.filter(pl.col("series_id") == "A")
    emptied = pl.when(pl.int_range(pl.len()) != HOLE).then(pl.col("raw:close")).alias("raw:close")
    complete, made = (add_features(r, FEATURES)[name] for r in (one, one.with_columns(emptied)))
    lost = {"missing": [HOLE + back for back in op.reach(FEATURES[name])], "skipped": [HOLE], "none": []}[op.gap]
    assert lost == [row for row in range(40) if made[row] is None and complete[row] is not None]
    others = [row for row in range(40) if row not in lost]
    if op.gap == "skipped":
        without = add_features(one.filter(pl.int_range(pl.len()) != HOLE), FEATURES)[name]
        np.testing.assert_allclose(_numbers(made.gather(others)), _numbers(without), rtol=1e-12)
    else:
        np.testing.assert_allclose(_numbers(made.gather(others)), _numbers(complete.gather(others)), rtol=1e-9)
    assert op.gap in GAPS


def _numbers(values: pl.Series) -> np.ndarray:
    return values.fill_null(np.nan).to_numpy()


def test_several_lags_make_a_column_each(rows: pl.DataFrame) -> None:
    several = Feature(op="lags", column="close", lags=(1, 4)).made("before")
    assert list(several) == ["before_1", "before_4"]
    made, one = add_features(rows, several), rows.filter(pl.col("series_id") == "B")["raw:close"]
    for lag, column in ((1, "before_1"), (4, "before_4")):
        own = made.filter(pl.col("series_id") == "B")[column]
        assert own.null_count() == lag
        assert own[lag:].to_list() == one[:-lag].to_list()


def test_where_nothing_varies_there_is_no_score() -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(6)]
    frame = pl.DataFrame({"series_id": "A", "time": times, "raw:close": 3.0, "raw:high": 3.0})
    assert add_features(frame, FEATURES)["zscore_rolling"].null_count() == 6


@pytest.mark.parametrize("name", OPS)
def test_numbers_are_counted_in_the_unit_that_the_op_says(rows: pl.DataFrame, name: str) -> None:
    """Columns in a unit of half the size: a feature doubles, moves by a logarithm, or is the same."""
    own, unit = FEATURES[name], OPS[name].unit
    bounds = {key: 2.0 * bound for key in ("low", "high") if (bound := getattr(own, key)) is not None}
    finer = rows.with_columns(pl.col("raw:close", "raw:high") * 2.0)
    before = _numbers(add_features(rows, {name: own})[name])
    after = _numbers(add_features(finer, {name: own.model_copy(update=bounds)})[name])
    expected = {"units of {0}": 2.0 * before, "log of {0}": before + np.log(2.0)}.get(unit, before)
    np.testing.assert_allclose(after, expected, rtol=1e-9, atol=1e-12)
    if unit == "{0} per {1}":
        of_the_first = add_features(rows.with_columns(pl.col(f"raw:{own.inputs[0]}") * 2.0), {name: own})[name]
        np.testing.assert_allclose(_numbers(of_the_first), 2.0 * before, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.n_columns])
def test_of_nothing_known_nothing_is_made(rows: pl.DataFrame, name: str) -> None:
    nothing = pl.lit(None, pl.Float64)
    for column in FEATURES[name].inputs:
        empty = rows.with_columns(nothing.alias(f"raw:{column}"))
        assert add_features(empty, {name: FEATURES[name]})[name].null_count() == len(rows)


@pytest.mark.parametrize("name", OPS)
def test_an_op_is_declared_with_what_it_needs_and_nothing_else(name: str) -> None:
    given = {key: value for key, value in FEATURES[name] if value is not None}
    for key in OPS[name].needs:
        with pytest.raises(ValidationError, match=f"`{key}`"):
            Feature(**{other: value for other, value in given.items() if other != key})
    surplus = next(key for key in _OPTIONS if key not in (*OPS[name].needs, *OPS[name].one_of))
    with pytest.raises(ValidationError, match="no other key"):
        Feature(**given, **{surplus: _OPTIONS[surplus]})


def test_every_unit_names_the_columns_it_is_made_of() -> None:
    units = {name: f.unit for name, f in FEATURES.items()}
    assert units["ratio"] == "high per close"
    assert units["log"] == "log of close"
    assert not any("{" in unit for unit in units.values())
