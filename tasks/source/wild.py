"""Values so far from all others that a model would be of them alone: a series that has one beyond reason is set aside,
what no state could be of teaches no model, and what lies far from all that was learnt is no evidence of a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tasks.config.laws import SPREADS, reaching_columns
from tasks.config.settings import Settings

CONFIRM = 3
_LARGEST_SHARE = 0.01


def wild_series(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Series (series_id, detail) with a value further than ``source.wild_spreads`` from the median of the others.

    The others are the series' own where each has its own scale or model, else all. A spread is from the 5 % to the 95 %
    quantile, or from 0.5 % to 99.5 % where most are the same.
    """
    among = compared_among(settings)
    apart = [_spreads_apart(pl.col(column), among).alias(column) for column in settings.value_columns]
    furthest = rows.with_columns(apart).with_columns(pl.max_horizontal(settings.value_columns).alias("apart"))
    return (
        furthest.filter(pl.col("apart") > settings.source.wild_spreads)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"), pl.col("apart").first())
        .select(
            "series_id",
            pl.format(
                "found {} rows further than `source.wild_spreads` from the others, the first at {} by {} spreads; "
                "mend them, or raise `source.wild_spreads`",
                "n",
                "time",
                pl.col("apart").round(0).cast(pl.String),
            ).alias("detail"),
        )
    )


def far_values(training: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """A column of booleans for each feature that is measured or counted, and each of the context: values of these
    training rows that are far from the others and so few that no state could be of them.

    Far is further than ten spreads from the median, of counts a hundred; few are at most one in a hundred, or one.
    """
    among, columns = compared_among(settings), judged_columns(settings)
    far = [
        (_spreads_apart(pl.col(column), among) > spreads).fill_null(value=False).alias(column)
        for column, spreads in columns.items()
    ]
    found = training.select("series_id", *far)
    few = [
        _of_all(pl.col(column).sum() <= pl.max_horizontal(1, _LARGEST_SHARE * pl.len()), among) for column in columns
    ]
    return found.select(pl.col(column) & is_few for column, is_few in zip(columns, few, strict=True))


def judged_columns(settings: Settings) -> dict[str, float]:
    """The columns of which a value may be far, the context's too, and how many spreads that is."""
    return reaching_columns(settings) | dict.fromkeys(settings.context_columns, SPREADS)


def without_far(training: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """These training rows, the values that are far and few missing; all of a row's where its context is one."""
    far, values, context = far_values(training, settings), settings.value_columns, settings.context_columns
    tame = training.with_columns(
        pl.when(~far[column]).then(pl.col(column)).alias(column) for column in far.columns if column in values
    )
    if not context:
        return tame
    return with_tame_context(tame, values, far.select(context))


def with_tame_context(rows: pl.DataFrame, values: Sequence[str], far: pl.DataFrame) -> pl.DataFrame:
    """These rows, their ``values`` missing where a column of the context is ``far`` (a column of booleans for each),
    and that the last one of its series which is not, or 0 where there is none.
    """
    known = rows.with_columns(pl.when(~far[name]).then(pl.col(name)).alias(name) for name in far.columns)
    carried = known.with_columns(pl.col(far.columns).forward_fill().over("series_id").fill_null(0.0))
    is_far = far.select(pl.any_horizontal(pl.all())).to_series()
    return carried.with_columns(pl.when(~is_far).then(pl.col(name)).alias(name) for name in values)


def reach(training: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """``series_id`` and for each column that may be far ``low:…`` and ``high:…``: how far it reaches in these training
    rows, ten spreads from the median (of counts a hundred) and as far as what they teach; null where nothing varies.
    """
    among, columns, far = compared_among(settings), judged_columns(settings), far_values(training, settings)
    found = training.select("series_id", *columns).with_columns(
        pl.when(~far[column]).then(pl.col(column)).alias(f"tame:{column}") for column in columns
    )
    bounds = [bound for column, spreads in columns.items() for bound in _bounds(column, spreads, among)]
    return found.select("series_id", *bounds).unique("series_id", keep="first", maintain_order=True)


def _bounds(column: str, spreads: float, among: list[str]) -> tuple[pl.Expr, pl.Expr]:
    values, tame = pl.col(column), pl.col(f"tame:{column}")
    middle, width = _of_all(values.median(), among), spreads * _spread(values, among)
    least, most = (pl.when(width > 0).then(_of_all(end, among)) for end in (tame.min(), tame.max()))
    low, high = pl.min_horizontal(middle - width, least), pl.max_horizontal(middle + width, most)
    return low.cast(pl.Float64).alias(f"low:{column}"), high.cast(pl.Float64).alias(f"high:{column}")


def no_evidence(values: pl.DataFrame, low: np.ndarray, high: np.ndarray) -> pl.DataFrame:
    """Which of ``values`` (``series_id`` and columns, by series and time) lie beyond ``low`` and ``high`` (n_rows,
    n_columns; NaN bounds nothing) and are no evidence yet: a column of booleans for each column.

    The third value in a row that lies beyond is evidence that the level has moved, and so are those that follow it.
    One that repeats the value before it confirms nothing, as of a sensor that is stuck; rows without a value are passed
    over.
    """
    columns = [name for name in values.columns if name != "series_id"]
    return pl.DataFrame(
        [
            _unconfirmed(values.select("series_id", x=name), low[:, i], high[:, i]).alias(name)
            for i, name in enumerate(columns)
        ]
    )


def _unconfirmed(values: pl.DataFrame, low: np.ndarray, high: np.ndarray) -> pl.Series:
    x = values["x"].cast(pl.Float64).to_numpy()
    beyond = (x < low) | (x > high)
    if not beyond.any():
        return pl.Series(beyond)
    known = values.with_row_index("row").with_columns(pl.Series("beyond", beyond)).drop_nulls("x")
    moved = pl.col("beyond") & (pl.col("x") != pl.col("x").shift().over("series_id")).fill_null(value=True)
    told = known.with_columns(moved.alias("moved"), (~pl.col("beyond")).cum_sum().over("series_id").alias("stay"))
    told = told.with_columns(pl.col("moved").cum_sum().over("series_id", "stay").alias("n"))
    found = np.zeros(len(values), dtype=bool)
    found[told["row"].to_numpy()] = told.select(pl.col("beyond") & (pl.col("n") < CONFIRM)).to_series().to_numpy()
    return pl.Series(found)


def told_far(rows: pl.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """``series_id``, ``feature``, ``time`` and ``value`` of those of the rows that train, the newest first."""
    training = rows.filter("trains")
    far = far_values(training, settings)
    found = [
        training.filter(far[column]).select("series_id", pl.lit(column).alias("feature"), "time", value=column)
        for column in far.columns
    ]
    told = pl.concat(found).sort("time", descending=True) if found else pl.DataFrame()
    return told.with_columns(pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dicts() if len(told) else []


def compared_among(settings: Settings) -> list[str]:
    """Whose values are compared: a series' own where it has its own scale or model, else all."""
    return ["series_id"] if settings.fit.scale == "series" or settings.fit.pool == "per_series" else []


def _of_all(found: pl.Expr, among: list[str]) -> pl.Expr:
    return found.over(among) if among else found


def _spreads_apart(values: pl.Expr, among: list[str]) -> pl.Expr:
    return (values - _of_all(values.median(), among)).abs() / _spread(values, among)


def _spread(values: pl.Expr, among: list[str]) -> pl.Expr:
    near, wide = (_of_all(values.quantile(1 - q) - values.quantile(q), among) for q in (0.05, 0.005))
    return pl.when(near > 0).then(near).when(wide > 0).then(wide)
