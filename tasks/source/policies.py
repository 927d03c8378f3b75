"""What becomes of rows that do not fit their calendar: resampled, dropped or snapped, as the configuration says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import polars as pl

from tasks.config.durations import as_timedelta
from tasks.config.sections.source import EVERY_OTHER, Source
from tasks.source.calendar import every, is_closed, stamped, with_step
from tasks.source.moments import at_clock, is_of_days
from tasks.source.seen import RAW


def on_steps(rows: pl.DataFrame, source: Source, frequency: str, zone: str, as_of: datetime | None) -> pl.DataFrame:
    """``rows`` (by series and time) with ``step``, after the policies; none stands for a step that is not known yet."""
    rows = with_step(rows, frequency, zone)
    if source.resample is not None:
        return with_step(_resampled(rows, source, frequency, zone, as_of), frequency, zone)
    if source.off_calendar == "drop":
        rows = rows.filter(~is_closed(frequency))
        return rows.unique(["series_id", "step"], keep="first", maintain_order=True)
    if source.off_calendar == "snap":
        return _snapped(rows, source, frequency, zone, as_of)
    return rows


def _resampled(rows: pl.DataFrame, source: Source, frequency: str, zone: str, as_of: datetime | None) -> pl.DataFrame:
    """One row a step, stamped with its beginning and known when it is over; steps that are not are left out."""
    how = source.resample
    columns = [name for name in rows.columns if name.startswith(RAW)]
    of_column = {
        name: how.get(name.removeprefix(RAW), "last") if isinstance(how, Mapping) else str(how) for name in columns
    }
    counted_in = zone if is_of_days(frequency) else "UTC"
    delay = as_timedelta(source.available_after)
    begin, end = (
        at_clock(clock, counted_in) for clock in (pl.col("step"), pl.col("step").dt.offset_by(every(frequency)))
    )
    newest = pl.lit(as_of - delay) if as_of is not None else pl.col("time").max().over("series_id")
    over = rows.with_columns(end=end).filter(pl.col("end") <= newest)
    made = over.group_by("series_id", "step", maintain_order=True).agg(
        pl.col("time").first(),
        pl.max_horizontal(pl.col("known").max(), pl.col("end").first() + delay).alias("known"),
        *(_aggregated(name, of_column[name]) for name in columns),
        pl.col("file", "row", "flaw").first(),
    )
    return made.with_columns(begin.alias("time")).filter(~is_closed(frequency)).select(rows.columns)


def _aggregated(name: str, how: str) -> pl.Expr:
    values = pl.col(name).drop_nulls()
    if how == "sum":  # of no value there is none
        return pl.when(values.len() > 0).then(values.sum()).alias(name)
    by_name = {"first": values.first, "last": values.last, "mean": values.mean, "min": values.min, "max": values.max}
    return by_name[how]().alias(name)


def _snapped(rows: pl.DataFrame, source: Source, frequency: str, zone: str, as_of: datetime | None) -> pl.DataFrame:
    """A weekend's row counts for the next business day, a row between two short steps for the nearer one.

    Of several rows in a step the first counts, one of its own before one that was moved.
    """
    delay = as_timedelta(source.available_after)
    if is_of_days(frequency):
        moved, next_day = (
            is_closed(frequency),
            pl.col("step") + pl.duration(days=8 - pl.col("step").dt.weekday().cast(pl.Int64)),
        )
        placed = rows.with_columns(
            pl.when(moved).then(next_day).otherwise("step").alias("step"),
            pl.when(~moved).then("time").alias("time"),
            moved=moved,
        )
    else:
        near = pl.col("time").dt.round(every(frequency))
        placed = rows.with_columns(
            near.alias("time"), near.dt.replace_time_zone(None).alias("step"), moved=pl.col("time") != near
        )
    alone = placed.sort("series_id", "step", "moved", maintain_order=True).unique(
        ["series_id", "step"], keep="first", maintain_order=True
    )
    own = pl.col("time").filter(~pl.col("moved")).max().over("series_id")
    stamps = stamped(_with_a_past(alone), frequency, zone)
    latest = pl.col("time").max().over("series_id")
    if as_of is not None:
        latest = pl.lit(as_of - delay)
    elif is_of_days(frequency):
        latest = pl.coalesce(own, latest)
    known = pl.max_horizontal("known", pl.col("time") + delay)
    return (
        stamps.filter(~pl.col("moved") | (pl.col("time") <= latest))
        .with_columns(known.alias("known"))
        .select(rows.columns)
    )


def _with_a_past(rows: pl.DataFrame) -> pl.DataFrame:
    """A moved row that nothing stands before has the beginning of its step as its time."""
    first = pl.col("time").is_null() & (pl.int_range(pl.len()).over("series_id") == 0)
    beginning = pl.col("step").dt.replace_time_zone("UTC")
    return rows.with_columns(pl.when(first).then(beginning).otherwise("time").alias("time"))


def by_calendar(rows: pl.DataFrame, source: Source) -> Iterator[tuple[str | None, pl.DataFrame]]:
    """The rows of the series that share a calendar; None: rows are steps."""
    own = {series: frequency for series, frequency in source.frequencies.items() if series != EVERY_OTHER}
    other = source.frequencies.get(EVERY_OTHER)
    for frequency in dict.fromkeys([other, *own.values()]):
        named = pl.Series([series for series, f in own.items() if f == frequency], dtype=pl.String)
        is_own = pl.col("series_id").is_in(named.implode())
        if frequency == other:
            is_own |= ~pl.col("series_id").is_in(pl.Series(list(own), dtype=pl.String).implode())
        part = rows.filter(is_own)
        if len(part):
            yield frequency, part
