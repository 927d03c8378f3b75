"""Transforms are what they say, and never see the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tasks.config.settings import Feature
from tasks.source.features import add_features

FEATURES = {
    "identity": Feature(op="identity", column="close"),
    "log": Feature(op="log", column="close"),
    "diff": Feature(op="diff", column="close"),
    "log_return": Feature(op="log_return", column="close"),
    "log_ratio": Feature(op="log_ratio", columns=("high", "close")),
    "rolling_mean": Feature(op="rolling_mean", column="close", window=5),
    "rolling_std": Feature(op="rolling_std", column="close", window=5),
}


@pytest.fixture
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    close = np.exp(rng.normal(size=80))
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(40)] * 2
    frame = pl.DataFrame({"series_id": ["A"] * 40 + ["B"] * 40, "time": times, "raw:close": close})
    hole = pl.int_range(pl.len()) % 11 == 7
    return frame.with_columns(
        pl.when(~hole).then("raw:close").alias("raw:close"), (pl.col("raw:close") * 1.5).alias("raw:high")
    )


def test_each_op_is_its_formula() -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(3)]
    frame = pl.DataFrame({"series_id": "A", "time": times, "raw:close": [1.0, 2.0, 8.0], "raw:high": [2.0, 2.0, 16.0]})
    two = {name: f.model_copy(update={"window": 2}) if f.window else f for name, f in FEATURES.items()}
    made = add_features(frame, two)
    expected = {
        "identity": [1.0, 2.0, 8.0],
        "log": np.log([1.0, 2.0, 8.0]),
        "diff": [None, 1.0, 6.0],
        "log_return": [None, np.log(2.0), np.log(4.0)],
        "log_ratio": [np.log(2.0), 0.0, np.log(2.0)],
        "rolling_mean": [None, 1.5, 5.0],
        "rolling_std": [None, np.sqrt(0.5), np.sqrt(18.0)],
    }
    for name, values in expected.items():
        assert made[name].to_list() == pytest.approx(list(values), nan_ok=True), name


@pytest.mark.parametrize("n_kept", [1, 7, 8, 23, 39])
def test_cutting_the_future_changes_no_bit_of_the_past(rows: pl.DataFrame, n_kept: int) -> None:
    cut = rows.group_by("series_id", maintain_order=True).head(n_kept)
    whole = add_features(rows, FEATURES).group_by("series_id", maintain_order=True).head(n_kept)
    assert add_features(cut, FEATURES).equals(whole)


def test_a_series_does_not_feel_its_neighbours(rows: pl.DataFrame) -> None:
    alone = add_features(rows.filter(pl.col("series_id") == "B"), FEATURES)
    assert alone.equals(add_features(rows, FEATURES).filter(pl.col("series_id") == "B"))


def test_a_difference_is_taken_to_the_last_known_value(rows: pl.DataFrame) -> None:
    made = add_features(rows, FEATURES)
    hole = rows.with_row_index().filter(pl.col("raw:close").is_null())["index"][0]
    assert made["diff"][hole] is None
    assert made["diff"][hole + 1] == rows["raw:close"][hole + 1] - rows["raw:close"][hole - 1]
