"""A few of the rows that a run has read: by them a later run knows whether its source is the same."""

from __future__ import annotations

from typing import Any

import polars as pl

from tasks.source.validate import Validated

_SERIES, _ROWS, _FEATURES = 8, 12, 4
_DIGITS = 7
_FEWEST = 8
_CLOSE, _EXACT = 0.1, 1e-6
_HALF = 0.5
_TIME = pl.Datetime("us", "UTC")
_CELL = ["series_id", "time", "feature"]

Sample = dict[str, list[list[Any]]]
"""By series a row for each time: microseconds since 1970, and the first features; None is a missing value."""


def sampled(validated: Validated) -> Sample:
    """Rows of some series, evenly from the first to the last."""
    features = sorted(validated.value_columns)[:_FEATURES]
    valued = validated.rows.filter(pl.col("age") == 0)
    shown = _evenly(valued["series_id"].unique().sort().to_list(), _SERIES)
    rows = valued.filter(pl.col("series_id").is_in(shown)).select(
        "series_id", pl.col("time").dt.epoch("us"), pl.col(features).cast(pl.Float64).round_sig_figs(_DIGITS)
    )
    of_series = rows.partition_by("series_id", include_key=False, as_dict=True, maintain_order=True)
    return {str(series): _evenly([[*row] for row in part.rows()], _ROWS) for (series,), part in of_series.items()}


def of_another_source(sample: Sample, validated: Validated) -> tuple[pl.DataFrame, int]:
    """Series (series_id, detail) whose rows are not those of a sample any more; how many could be compared.

    A value is the same up to a tenth of the spread of its feature, as it is after a revision; a series is if half of
    its values or more are, in half of its features or more.
    """
    features = sorted(validated.value_columns)[:_FEATURES]
    now = validated.rows.select("series_id", "time", pl.col(features).cast(pl.Float64))
    compared = (
        _unpivoted(sample, features)
        .join(now.unpivot(index=["series_id", "time"], variable_name="feature", value_name="now"), on=_CELL)
        .drop_nulls(["was", "now"])
        .sort(_CELL)
    )
    was = pl.col("was")
    spread = (was.quantile(0.75) - was.quantile(0.25)).over("series_id", "feature")
    is_other = (pl.col("now") - was).abs() > _CLOSE * spread + _EXACT * was.abs()
    by_feature = (
        compared.with_columns(is_other.alias("is_other"))
        .group_by("series_id", "feature", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("is_other").sum().alias("n_other"),
            pl.col("time", "now", "was").filter("is_other").first(),
        )
        .filter(pl.col("n") >= _FEWEST)
        .with_columns((pl.col("n_other") > _HALF * pl.col("n")).alias("is_other"))
        .sort("series_id", "is_other", descending=[False, True], maintain_order=True)
    )
    by_series = by_feature.group_by("series_id", maintain_order=True).agg(
        pl.col("is_other").mean().alias("share"), pl.exclude("series_id", "is_other").first()
    )
    detail = pl.format(
        "{} is {} at {} and was {}, and so in {} of {} rows",
        "feature",
        pl.col("now").round_sig_figs(_DIGITS),
        pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "was",
        "n_other",
        "n",
    )
    other = by_series.filter(pl.col("share") > _HALF)
    return other.select("series_id", detail.alias("detail")), len(by_series)


def _unpivoted(sample: Sample, features: list[str]) -> pl.DataFrame:
    rows = [
        (series, time, feature, value)
        for series, there in sample.items()
        for time, *values in there
        for feature, value in zip(features, values, strict=True)
    ]
    schema = {"series_id": pl.String(), "time": pl.Int64(), "feature": pl.String(), "was": pl.Float64()}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("time").cast(_TIME))


def _evenly(there: list[Any], n: int) -> list[Any]:
    """At most ``n`` of them, the first and the last among them."""
    if len(there) <= n:
        return there
    return [there[round(place * (len(there) - 1) / (n - 1))] for place in range(n)]
