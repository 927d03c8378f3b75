"""Series whose feed has ended: how old their last value is."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tasks.config.sections.source import Source
from tasks.source.calendar import ended_series
from tasks.source.policies import by_calendar


def with_age(rows: pl.DataFrame, columns: list[str], source: Source) -> pl.DataFrame:
    """``rows`` with ``age`` (rows since the last with a value; null before the first), and if that is ``stale``."""
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    seen = pl.when(pl.any_horizontal(pl.col(columns).is_not_null())).then(place).forward_fill()
    return rows.with_columns((place - seen).over("series_id").alias("age")).with_columns(
        (pl.col("age") > source.stale_after).fill_null(value=False).alias("stale")
    )


def long_ended(rows: pl.DataFrame, source: Source, until: datetime) -> pl.DataFrame:
    """Series (series_id, detail) that ended so long ago that the steps since would outnumber what they have."""
    ended = [rows.clear().select("series_id", pl.lit("").alias("detail"))]
    for frequency, part in by_calendar(rows, source):
        if frequency is not None and not source.has_own_counts:
            ended.append(ended_series(part, frequency, until))
    return pl.concat(ended)


def stale_series(rows: pl.DataFrame, source: Source, until: datetime) -> pl.DataFrame:
    """``series_id``, ``last`` (time of the last value), ``age`` of the series that are stale at the end.

    Where rows are steps, their age is counted in usual distances between them.
    """
    told = [pl.DataFrame(schema={"series_id": pl.String, "last": rows.schema["time"], "age": pl.Int64})]
    for frequency, part in by_calendar(rows, source):
        since = (pl.lit(until) - pl.col("time").last()) / pl.col("time").diff().median()
        age = pl.max_horizontal(pl.col("age").last(), since.floor() if frequency is None else None)
        last = pl.col("time").filter(pl.col("age") == 0).last().alias("last")
        told.append(part.group_by("series_id", maintain_order=True).agg(last, age.cast(pl.Int64).alias("age")))
    return pl.concat(told).filter(pl.col("age") > source.stale_after)
