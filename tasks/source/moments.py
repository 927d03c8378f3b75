"""When a row happened: dates, clocks with and without a zone, and text, all as moments in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from tasks.config.sections.source import EPOCHS, Source
from tasks.source.text import cells, epoch_moment, iso_groups, iso_moment

TIMESTAMP = pl.Datetime("us", "UTC")
_TIMES = (-(2**55), 2**57)  # microseconds: from the year 828 to 6536, where every zone can be counted in
_DAY = pl.duration(days=1)

Kind = Literal["date", "clock", "moment"]


@dataclass(frozen=True)
class Stamps:
    """How a column says when: dates, what a clock showed somewhere, or moments counted in a ``zone``."""

    kind: Kind
    zone: str | None = None
    is_text: bool = False

    def __str__(self) -> str:
        return {"date": "dates", "clock": "timestamps without a zone", "moment": "timestamps with a zone"}[self.kind]


def stamps_of(scanned: pl.LazyFrame, column: str, dtype: pl.DataType, time_format: str | None) -> Stamps | None:
    """How a column of this type says when; None if it does not. A column of text is read as a whole to know."""
    if dtype == pl.Date:
        return Stamps("date")
    if isinstance(dtype, pl.Datetime):
        return Stamps("clock") if dtype.time_zone is None else Stamps("moment", dtype.time_zone)
    if time_format in EPOCHS and (dtype.is_numeric() or _is_text(dtype)):
        return Stamps("moment", "UTC", is_text=True)
    if not (_is_text(dtype) or (time_format is not None and dtype.is_integer())):
        return None
    if time_format is not None:
        zoned = any(mark in time_format for mark in ("%z", "%:z", "%#z", "%+"))
        timed = any(mark in time_format for mark in ("%H", "%I", "%k", "%l", "%T", "%R", "%X", "%c", "%s"))
        return Stamps("moment", "UTC", is_text=True) if zoned else Stamps("clock" if timed else "date", is_text=True)
    _, ahead, timed_ = iso_moment(pl.col("parts"))
    read = scanned.select(iso_groups(pl.col(column)).alias("parts"))
    seen = read.select(timed_.any().alias("timed"), ahead.is_not_null().any().alias("zoned")).collect()
    if seen["zoned"][0]:
        return Stamps("moment", "UTC", is_text=True)
    return Stamps("clock" if seen["timed"][0] else "date", is_text=True)


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def with_utc(
    rows: pl.LazyFrame, into: str, column: str, stamps: Stamps, source: Source, series: pl.Expr
) -> pl.LazyFrame:
    """``rows`` with the column's moments in UTC as ``into``: null where there is none, or a clock showed it never or
    twice.

    What is read once is a column at once: an expression that is used twice would be computed twice.
    """
    shown = f"{into}:shown"
    if stamps.is_text and source.time_format is None:
        parts = f"{into}:parts"
        clock, ahead, _ = iso_moment(pl.col(parts))
        read = rows.with_columns(iso_groups(pl.col(column)).alias(parts))
        read = read.with_columns(_bounded(clock).alias(shown), ahead.alias(f"{into}:ahead")).drop(parts)
        moment = _of_iso(pl.col(shown), pl.col(f"{into}:ahead"), stamps, source, series)
        return read.with_columns(moment.alias(into)).drop(shown, f"{into}:ahead")
    read = rows.with_columns(_bounded(_shown(pl.col(column), stamps, source)).alias(shown))
    return read.with_columns(_in_utc(pl.col(shown), stamps, source, series).alias(into)).drop(shown)


def _bounded(found: pl.Expr) -> pl.Expr:
    return pl.when(found.to_physical().is_between(*_TIMES)).then(found)


def _shown(column: pl.Expr, stamps: Stamps, source: Source) -> pl.Expr:
    """What a column shows: a moment, or what the clock said."""
    if not stamps.is_text:
        return column.cast(pl.Datetime("us", stamps.zone if stamps.kind == "moment" else None), strict=False)
    pattern = str(source.time_format)
    if pattern in EPOCHS:
        return epoch_moment(column, pattern)
    if stamps.kind == "date":
        return cells(column).str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
    zone = "UTC" if stamps.kind == "moment" else None
    return cells(column).str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False)


def _of_iso(clock: pl.Expr, ahead: pl.Expr, stamps: Stamps, source: Source, series: pl.Expr) -> pl.Expr:
    if stamps.kind != "moment":
        return _in_utc(clock, stamps, source, series)
    moment = (clock - pl.duration(minutes=ahead)).dt.replace_time_zone("UTC")
    if source.timezone is None:
        return moment
    return moment.fill_null(_in_utc(pl.when(ahead.is_null()).then(clock), Stamps("clock"), source, series))


def _in_utc(found: pl.Expr, stamps: Stamps, source: Source, series: pl.Expr) -> pl.Expr:
    if stamps.kind == "moment":
        return found.dt.convert_time_zone("UTC")
    if stamps.kind == "date":
        return found.dt.replace_time_zone("UTC")
    return _of_clock(found, source, series)


def _of_clock(clock: pl.Expr, source: Source, series: pl.Expr) -> pl.Expr:
    """A clock that skips an hour shows some times never, and one that goes back some twice.

    Midnight is the beginning of its day, whatever the clock does, unless rows are shorter than days; so is any time
    where rows are days or longer, whose day is beyond doubt. Other skipped times are null, and repeated ones as
    ``source.ambiguous`` says.
    """
    zone = str(source.timezone)
    early = clock.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    late = clock.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    lenient = _is_of_its_day(clock, source)
    repeated = {"earliest": early, "latest": late, "reject": pl.lit(None, pl.Datetime("us", zone))}
    if source.ambiguous == "infer":
        shown = pl.int_range(pl.len()).over(series, clock)
        twice = pl.len().over(series, clock) > 1
        repeated["infer"] = pl.when(twice & (shown == 0)).then(early).when(twice).then(late)
        lenient = lenient & ~twice
    found = pl.when(early == late).then(early).when(lenient).then(early).otherwise(repeated[source.ambiguous])
    later = at_clock(clock, zone)
    is_of_its_day = later.dt.convert_time_zone(zone).dt.date() == clock.dt.date()  # there are days that never were
    skipped = pl.when(lenient & early.is_null() & is_of_its_day).then(later)
    return found.dt.convert_time_zone("UTC").fill_null(skipped)


def _is_of_its_day(clock: pl.Expr, source: Source) -> pl.Expr:
    """Whether a time that a clock skips or repeats says no more than its day."""
    of_days = {is_of_days(frequency) for frequency in source.frequencies.values()}
    if source.resample is None and len(of_days) == 1:
        return pl.lit(value=of_days.pop())
    return clock == clock.dt.truncate("1d")


def at_clock(clock: pl.Expr, zone: str) -> pl.Expr:
    """The moment a clock of the zone shows this, the first if there are two; one that it skips, as if it had not."""

    def moment(shown: pl.Expr, which: Literal["earliest", "latest"]) -> pl.Expr:
        return shown.dt.replace_time_zone(zone, ambiguous=which, non_existent="null").dt.convert_time_zone("UTC")

    return moment(clock, "earliest").fill_null(moment(clock - _DAY, "latest") + _DAY)


def is_of_days(frequency: str) -> bool:
    """Whether a step is a day or a number of them, which are counted in a zone."""
    return frequency.lstrip("0123456789") in ("d", "bd", "w", "mo", "q", "y")
