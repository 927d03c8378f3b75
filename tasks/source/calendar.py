"""Steps of the calendar: one row a step, gaps written out as rows without values.

A step begins at what a clock shows in the zone in which days are counted, not at a moment: there are days whose
midnight never comes, or comes twice.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tasks.config.durations import typical_length
from tasks.source.moments import at_clock, is_of_days
from tasks.source.parts import WHERE

_MOST_STEPS_PER_ROW = 10
_FREE_STEPS = 100
_DAY = pl.duration(days=1)
_OF_MONTHS = ("mo", "q", "y")
_ENOUGH = 3
_RULES = ("last_day", "first_day", "last_weekday", "first_weekday", "same_day")  # of equals the first


def with_step(rows: pl.DataFrame, frequency: str, zone: str) -> pl.DataFrame:
    """``rows`` with the start of the step each belongs to, as the clock of the zone shows it."""
    return rows.with_columns(_clock(frequency, zone).dt.truncate(every(frequency)).alias("step"))


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
            pl.format(
                f"found {{}} rows over about {{}} steps of {frequency}; expected fewer gaps than rows: a longer "
                "`source.frequency`, or none, so that each row is a step",
                "n",
                "steps",
            ).alias("detail"),
        )
    )


def ended_series(rows: pl.DataFrame, frequency: str, until: datetime) -> pl.DataFrame:
    """Series that ended so long before ``until`` that their calendar would be almost nothing but what came after."""
    since = (pl.lit(until) - pl.col("time").max()).dt.total_milliseconds()
    steps = (since / (typical_length(frequency).total_seconds() * 1000)).cast(pl.Int64)
    return (
        rows.group_by("series_id", maintain_order=True)
        .agg(steps.alias("steps"), pl.len().alias("n"), pl.col("time").max().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .filter(pl.col("steps") > _MOST_STEPS_PER_ROW * pl.col("n") + _FREE_STEPS)
        .select(
            "series_id",
            pl.format(f"its last row is of {{}}, about {{}} steps of {frequency} ago", "time", "steps").alias("detail"),
        )
    )


def is_closed(frequency: str) -> pl.Expr:
    """Whether a step (with ``step``) is no step of this calendar: a weekend of one of business days."""
    return pl.col("step").dt.weekday() > 5 if frequency == "1bd" else pl.lit(value=False)


def off_calendar_series(rows: pl.DataFrame, frequency: str) -> pl.DataFrame:
    """Series with a row on a weekend of a business calendar, or with several rows in one step."""
    crowded = pl.struct("series_id", "step").is_duplicated()
    day = pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        rows.filter(crowded | is_closed(frequency))
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), day, WHERE.first().alias("where"))
        .select(
            "series_id",
            pl.format(
                f"found {{}} rows outside a calendar of one row every {frequency}, "
                "the first at {} ({}); "
                'set `source.off_calendar` to "drop" or "snap", or `source.resample`, or another `source.frequency`',
                "n",
                "time",
                "where",
            ).alias("detail"),
        )
    )


def fill_gaps(rows: pl.DataFrame, frequency: str, zone: str) -> pl.DataFrame:
    """``rows`` plus one row without values for every step of a series' life that has none, marked by ``gap``."""
    placed = with_step(rows, frequency, zone).with_columns(gap=pl.lit(value=False))
    lives = placed.group_by("series_id", maintain_order=True).agg(
        pl.col("step").min().alias("first"), pl.col("step").max().alias("last")
    )
    calendar = (
        lives.with_columns(pl.datetime_ranges("first", "last", every(frequency)).alias("step"))
        .explode("step")
        .select("series_id", "step")
        .filter(~is_closed(frequency))
    )
    joined = calendar.join(placed, on=["series_id", "step"], how="left", maintain_order="left")
    return stamped(joined.with_columns(pl.col("gap").fill_null(value=True)), frequency, zone).drop("step")


def with_trail(rows: pl.DataFrame, frequency: str, zone: str, until: datetime, *, over: bool) -> pl.DataFrame:
    """``rows`` plus, as gaps, every step after a series' last whose time has come (of which the end has: ``over``)."""
    placed = with_step(rows, frequency, zone)
    newest = pl.DataFrame({"time": [until]}, schema={"time": rows.schema["time"]})
    until_step = with_step(newest, frequency, zone)["step"][0]
    lives = placed.group_by("series_id", maintain_order=True).agg(pl.col("step").max().alias("last"))
    calendar = (
        lives.filter(pl.col("last") < until_step)
        .with_columns(pl.datetime_ranges("last", pl.lit(until_step), every(frequency)).alias("step"))
        .explode("step")
        .filter((pl.col("step") > pl.col("last")) & ~is_closed(frequency))
        .select("series_id", "step", gap=pl.lit(value=True), trails=pl.lit(value=True))
    )
    longer = pl.concat([placed, calendar], how="diagonal_relaxed").sort("series_id", "step", maintain_order=True)
    end = at_clock(pl.col("step").dt.offset_by(every(frequency)), zone if is_of_days(frequency) else "UTC")
    has_come = (end if over else pl.col("time")) <= until
    return stamped(longer, frequency, zone).filter(has_come | pl.col("trails").is_null()).drop("step", "trails")


def stamped(rows: pl.DataFrame, frequency: str, zone: str) -> pl.DataFrame:
    """``rows`` (with ``step``, by series and step), each without ``time`` stamped as those before it usually are.

    Steps that the zone has never seen (it skipped a day) have no row. Only earlier rows count, so that a stamp stays
    when more rows come.
    """
    lacking = rows.filter(pl.col("time").is_null())["series_id"].unique()
    if lacking.is_empty():
        return rows
    lacks = pl.col("series_id").is_in(lacking.implode())
    parts = [rows.filter(~lacks), _stamped(rows.filter(lacks), frequency, zone)]
    return pl.concat(parts).sort("series_id", "step", maintain_order=True)


def _stamped(rows: pl.DataFrame, frequency: str, zone: str) -> pl.DataFrame:
    known = pl.col("time").is_not_null()
    clock = _clock(frequency, zone)
    offset = clock - (clock.dt.truncate("1d") if is_of_days(frequency) else pl.col("step"))
    seen = rows.filter(known).select(
        "series_id",
        "step",
        _usual(offset).over("series_id").alias("offset"),
        _usual_day(clock, frequency).alias("rule"),
        (clock.dt.truncate("1d") - pl.col("step")).first().over("series_id").alias("days"),
    )
    like_before = pl.col("offset", "rule", "days").forward_fill().over("series_id")
    filled = rows.join(seen, on=["series_id", "step"], how="left", maintain_order="left").with_columns(like_before)
    shown = _day_of(frequency) + pl.col("offset")
    filled = filled.with_columns(
        pl.col("time").fill_null(at_clock(shown, zone if is_of_days(frequency) else "UTC")),
        made=~known,
    )
    is_there = ~pl.col("made") | (_clock(frequency, zone).dt.truncate(every(frequency)) == pl.col("step"))
    return filled.filter(is_there).drop("offset", "rule", "days", "made")


def _usual(offset: pl.Expr) -> pl.Expr:
    """The time of day of the last two rows if they agree, else of the first: it follows a clock that is set in UTC."""
    return pl.when(offset == offset.shift(1)).then(offset).otherwise(offset.first())


def _usual_day(clock: pl.Expr, frequency: str) -> pl.Expr:
    """By which rule of :data:`_RULES` most rows so far have their day within a step of months."""
    if not _is_of_months(frequency):
        return pl.lit("same_day")
    day = clock.dt.truncate("1d")
    held = [(day == _ruled_day(rule, frequency)).cast(pl.Int32).cum_sum().over("series_id") for rule in _RULES[:-1]]
    same = (day - pl.col("step")) == (day - pl.col("step")).first()
    n_seen = pl.int_range(1, pl.len() + 1).over("series_id")
    weekdays_only = (n_seen >= _ENOUGH).cast(pl.Int32)  # what always fell on a weekday is not put on a weekend
    counts = [
        2 * count + (weekdays_only if rule.endswith("weekday") else 0)
        for rule, count in zip(_RULES, [*held, same.cast(pl.Int32).cum_sum().over("series_id")], strict=True)
    ]
    best = pl.max_horizontal(*counts)
    return pl.coalesce(pl.when(count == best).then(pl.lit(rule)) for rule, count in zip(_RULES, counts, strict=True))


def _day_of(frequency: str) -> pl.Expr:
    """The day of a step's row by its ``rule``, or the start of a step that is shorter than days."""
    if not is_of_days(frequency):
        return pl.col("step")
    if not _is_of_months(frequency):
        return pl.col("step") + pl.col("days")
    days = pl.min_horizontal(pl.col("step") + pl.col("days"), _last_day(frequency))
    for rule in _RULES[:-1]:
        days = pl.when(pl.col("rule") == rule).then(_ruled_day(rule, frequency)).otherwise(days)
    return days


def _ruled_day(rule: str, frequency: str) -> pl.Expr:
    first, last = pl.col("step"), _last_day(frequency)
    before = pl.max_horizontal(last.dt.weekday().cast(pl.Int64) - 5, pl.lit(0))
    after = pl.when(first.dt.weekday() > 5).then(8 - first.dt.weekday().cast(pl.Int64)).otherwise(0)
    match rule:
        case "first_day":
            return first
        case "last_day":
            return last
        case "first_weekday":
            return first + pl.duration(days=after)
        case _:
            return last - pl.duration(days=before)


def _last_day(frequency: str) -> pl.Expr:
    return pl.col("step").dt.offset_by(every(frequency)) - _DAY


def _clock(frequency: str, zone: str) -> pl.Expr:
    """What the clock shows by which this calendar is counted."""
    counted_in = zone if is_of_days(frequency) else "UTC"
    return pl.col("time").dt.convert_time_zone(counted_in).dt.replace_time_zone(None)


def every(frequency: str) -> str:
    """The length of a step as polars writes it."""
    return "1d" if frequency == "1bd" else frequency


def _is_of_months(frequency: str) -> bool:
    return frequency.lstrip("0123456789") in _OF_MONTHS
