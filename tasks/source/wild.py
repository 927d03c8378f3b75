"""Values so far from all others that a model would be of them alone: a series that has one beyond reason is set aside,
and what no state could be of teaches no model.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from tasks.config.laws import scaled_columns
from tasks.config.settings import Settings

SPREADS = 10.0
NORMAL_SPREAD = 3.29  # standard deviations from the 5 % to the 95 % quantile of a normal law
_LARGEST_SHARE = 0.01


def wild_series(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Series (series_id, detail) with a value further than ``source.wild_spreads`` from the median of the others.

    The others are the series' own where each has its own scale or model, else all. A spread is from the 5 % to the 95 %
    quantile, or from 0.5 % to 99.5 % where most are the same.
    """
    among = _among(settings)
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
    """A column of booleans for each feature that is described by a location and a scale: values of these training rows
    that are far from the others and so few that no state could be of them.

    Far is further than ten spreads from the median, few at most one in a hundred, or a single one.
    """
    among, columns = _among(settings), scaled_columns(settings)
    far = [(_spreads_apart(pl.col(column), among) > SPREADS).fill_null(value=False).alias(column) for column in columns]
    found = training.select("series_id", *far)
    few = [
        _of_all(pl.col(column).sum() <= pl.max_horizontal(1, _LARGEST_SHARE * pl.len()), among) for column in columns
    ]
    return found.select(pl.col(column) & is_few for column, is_few in zip(columns, few, strict=True))


def without_far(training: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """These training rows, the values that are far and few missing."""
    far = far_values(training, settings)
    return training.with_columns(pl.when(~far[column]).then(pl.col(column)).alias(column) for column in far.columns)


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


def _among(settings: Settings) -> list[str]:
    """Whose values are compared: a series' own where it has its own scale or model, else all."""
    return ["series_id"] if settings.fit.scale == "series" or settings.fit.pool == "per_series" else []


def _of_all(found: pl.Expr, among: list[str]) -> pl.Expr:
    return found.over(among) if among else found


def _spreads_apart(values: pl.Expr, among: list[str]) -> pl.Expr:
    near, wide = (_of_all(values.quantile(1 - q) - values.quantile(q), among) for q in (0.05, 0.005))
    spread = pl.when(near > 0).then(near).when(wide > 0).then(wide)
    return (values - _of_all(values.median(), among)).abs() / spread
