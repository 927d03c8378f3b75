"""Steps of the calendar: one row a step, gaps written out as rows without values."""

from __future__ import annotations

import re

import polars as pl

from tasks.config.durations import typical_length

_MOST_STEPS_PER_ROW = 10
_FREE_STEPS = 100


def with_step(rows: pl.DataFrame, frequency: str, zone: str) -> pl.DataFrame:
    """``rows`` with the start of the step each belongs to, in the zone in which days are counted."""
    local = pl.col("time").dt.convert_time_zone(_counting_zone(frequency, zone))
    return rows.with_columns(local.dt.truncate(_every(frequency)).alias("step"))


def sparse_series(rows: pl.DataFrame, frequency: str) -> pl.DataFrame:
    """Series whose calendar would be almost nothing but gaps."""
    span = (pl.col("time").max() - pl.col("time").min()).dt.total_milliseconds()
    steps = span / (typical_length(frequency).total_seconds() * 1000)
    return (
        rows.group_by("series_id", maintain_order=True)
        .agg(steps.cast(pl.Int64).alias("steps"), pl.len().alias("n"))
        .filter(pl.col("steps") > _MOST_STEPS_PER_ROW * pl.col("n") + _FREE_STEPS)
        .select(
            "series_id",
            pl.format("found {} rows over about {} steps of " + frequency, "n", "steps").alias("detail"),
        )
    )


def fill_gaps(rows: pl.DataFrame, frequency: str) -> pl.DataFrame:
    """``rows`` (with ``step``) plus one row without values for every step of a series' life that has none."""
    first_time, first_step = pl.col("time").first(), pl.col("step").first()
    lives = rows.group_by("series_id", maintain_order=True).agg(
        pl.col("step").min().alias("first"),
        pl.col("step").max().alias("last"),
        (first_time - first_step.dt.convert_time_zone("UTC")).alias("phase"),
        (_next(first_step, frequency).dt.convert_time_zone("UTC") - first_time).alias("rest"),
    )
    calendar = (
        lives.with_columns(pl.datetime_ranges("first", "last", _every(frequency)).alias("step"))
        .explode("step")
        .select("series_id", "step", "phase", "rest")
    )
    if frequency == "1bd":
        calendar = calendar.filter(pl.col("step").dt.weekday() <= 5)
    stamped = calendar.join(rows, on=["series_id", "step"], how="left", maintain_order="left")
    return stamped.with_columns(
        pl.col("time").is_null().alias("gap"), pl.coalesce("time", _stamp(frequency)).alias("time")
    ).drop("step", "phase", "rest")


def off_calendar_series(rows: pl.DataFrame, frequency: str) -> pl.DataFrame:
    """Series with a row on a weekend of a business calendar, or with several rows in one step."""
    crowded = pl.struct("series_id", "step").is_duplicated()
    weekend = pl.col("step").dt.weekday() > 5 if frequency == "1bd" else pl.lit(value=False)
    return (
        rows.filter(crowded | weekend)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("time").first())
        .select(
            "series_id",
            pl.format(
                "found {} rows outside a calendar of one row every " + frequency + ", the first at {}",
                "n",
                pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            ).alias("detail"),
        )
    )


def _every(frequency: str) -> str:
    return "1d" if frequency == "1bd" else frequency


def _is_calendar_unit(frequency: str) -> bool:
    return re.sub(r"\d", "", frequency) in ("d", "bd", "w", "mo", "q", "y")


def _counting_zone(frequency: str, zone: str) -> str:
    return zone if _is_calendar_unit(frequency) else "UTC"


def _next(step: pl.Expr, frequency: str) -> pl.Expr:
    return step.dt.offset_by(_every(frequency))


def _stamp(frequency: str) -> pl.Expr:
    """A gap is stamped as the series' first row is within its step; a last day stays a last day."""
    stamp = (pl.col("step") + pl.col("phase")).dt.convert_time_zone("UTC")
    if re.sub(r"\d", "", frequency) not in ("mo", "q", "y"):
        return stamp
    last_day = pl.col("rest") <= pl.duration(days=1)
    end = _next(pl.col("step"), frequency).dt.convert_time_zone("UTC")
    return pl.when(last_day).then(end - pl.col("rest")).otherwise(pl.min_horizontal(stamp, end - pl.duration(days=1)))
