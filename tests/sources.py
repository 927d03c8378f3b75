"""Sources that many tests read: prices with two regimes, their configuration, and what can be wrong with a series."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl

from tasks.config.settings import Settings

Poison = Callable[[pl.DataFrame], pl.DataFrame]


def toy_config(*, max_iter: int, tol: float) -> str:
    """A small configuration of ``prices.parquet``: two candidates, two restarts; sections may follow it."""
    return f"""
name = "toy"
[source]
path = "prices.parquet"
series = "symbol"
time = "date"
frequency = "1d"
available_after = "1d"
[features]
r = {{ op = "log_return", column = "close" }}
[model]
n_states = 2
emission = ["gaussian", "student_t"]
duration = "geometric"
max_duration = 12
[fit]
n_init = 2
max_iter = {max_iter}
tol = {tol}
device = "cpu"
"""


def tracked_at(uri: str) -> Settings:
    """Settings of which no more is asked than their tracking server."""
    source = {"path": "own.csv", "time": "t"}
    features = {"x": {"op": "identity", "column": "x"}}
    return Settings(name="own", source=source, features=features, tracking={"uri": uri})  # type: ignore[arg-type]


def walk(symbol: str, seed: int, n_rows: int = 150) -> pl.DataFrame:
    """Daily prices with a calm and a wild regime."""
    rng = np.random.default_rng(seed)
    spread = np.where(np.arange(n_rows) // 25 % 2, 0.03, 0.005)
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(n_rows)]
    return pl.DataFrame({"symbol": symbol, "date": days, "close": np.exp((rng.normal(size=n_rows) * spread).cumsum())})


def poisons(column: str) -> dict[str, Poison]:
    """By reason, what sets a daily series of ``column`` aside whose logarithm is its feature."""

    def at_row(row: int, value: float) -> Poison:
        picked = pl.int_range(pl.len()) == row
        return lambda frame: frame.with_columns(pl.when(picked).then(value).otherwise(column).alias(column))

    later = pl.col("date") + timedelta(hours=6)
    return {
        "duplicate_time": lambda frame: pl.concat([frame, frame.tail(1)]),
        "unsorted_time": lambda frame: frame.reverse(),
        "infinite_value": at_row(5, float("inf")),
        "undefined_feature": at_row(5, -1.0),
        "constant": lambda frame: frame.with_columns(pl.lit(2.0).alias(column)),
        "too_short": lambda frame: frame.head(5),
        "all_missing": lambda frame: frame.with_columns(pl.lit(float("nan")).alias(column)),
        "bad_time": lambda frame: frame.with_columns(date=pl.when(pl.int_range(pl.len()) != 3).then("date")),
        "missing_series": lambda frame: frame.with_columns(symbol=pl.lit(None, pl.String)),
        "off_calendar": lambda frame: pl.concat([frame, frame.tail(1).with_columns(later)]),
    }
