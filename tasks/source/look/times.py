"""Which column says when a row happened, how it is written, and on whose clock."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from tasks.source.look.choices import Choices
from tasks.source.look.columns import Column
from tasks.source.parts import Part
from tasks.source.text import cells

_NAMED = re.compile(
    r"(^|_)(time|timestamp|datetime|date|day|ds|ts|when|month|week|hour|utc|datum|zeit|dt)(_|$|time|s$)"
)
_WRITTEN = re.compile(r"writ|updat|ingest|insert|load|modif|creat|record|revis|publish|receiv|known|as_of")
_COUNTED = re.compile(
    r"^(cycle|trial|step|round|epoch|tick|frame|index|time|t|n|year|age|visit|session_row|row)s?(_|$)"
)
_PATTERNS = (
    "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d", "%Y%m%d", "%Y-%m-%d", "%Y-%d-%m",
    "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
    "%d-%b-%y",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S", " %H:%M:%S%z")
_EPOCHS = {"s": 1e0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_FROM_1990, _TO_2100 = 631_152_000.0, 4_102_444_800.0
_NEARLY = 0.98
_ZONES = (
    "Europe/London", "Europe/Berlin", "Europe/Athens", "America/New_York", "America/Chicago", "America/Denver",
    "America/Los_Angeles", "America/Santiago", "Australia/Sydney", "Australia/Adelaide",
    "Pacific/Auckland", "Asia/Jerusalem", "Africa/Cairo", "Asia/Beirut", "Atlantic/Azores", "America/Havana",
    "America/Asuncion",
)  # fmt: skip
_DAY = timedelta(days=1)
_TWICE = 1.5  # times the rows of an hour, where it comes twice


def choose_time(choices: Choices, columns: Sequence[Column], parts: Sequence[Part]) -> Column | None:
    """The time column and its format; None where no column could be one."""
    ranks = {column.name: _rank(column, parts) for column in columns}
    asked = choices.given.get("source.time")
    ranked = sorted(columns, key=lambda column: (column.name == asked, ranks[column.name]), reverse=True)
    if not ranked or (ranks[ranked[0].name][0] == 0 and asked is None):
        return None
    time, *others = ranked
    kind = ranks[time.name][0]
    lines = [
        f"time = {json.dumps(other.name, ensure_ascii=False)}   # says when, too"
        for other in others
        if ranks[other.name][0] >= kind > 1 and not _WRITTEN.search(other.name.lower())
    ]
    what = {
        5: f"it holds {time.dtype}",
        4: "its cells are ISO 8601",
        3: "its cells are dates",
        2: "it counts from 1970 on",
    }
    choices.add("source.time", time.name, f"{what.get(kind, 'it counts')}, such as {time.first}", *lines)
    if kind == 3 or "source.time_format" in choices.given:
        _choose_pattern(choices, time, parts)
    elif kind == 2:
        unit = _epoch(time)
        choices.add("source.time_format", unit, f"numbers such as {time.first} are of our time as {unit} since 1970")
    elif kind == 1:
        choices.add("source.frequency", 1, "times are whole numbers that count steps")
    return time


def written_column(columns: Sequence[Column], time: Column, parts: Sequence[Part]) -> str | None:
    """A column that says when a row was written, if one has such a name."""
    named = [c for c in columns if c.name != time.name and _WRITTEN.search(c.name.lower()) and _rank(c, parts)[0] >= 4]
    return named[0].name if named else None


def says_when(column: Column, parts: Sequence[Part]) -> bool:
    """Whether a column holds moments rather than values."""
    return _rank(column, parts)[0] > 1


def _rank(column: Column, parts: Sequence[Part]) -> tuple[int, int, int]:
    """How surely a column says when (0: not at all, 1: it counts steps), and how much its name does."""
    lower = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower()
    named = 1 if _NAMED.search(lower) else 0
    fits = (named - 2 * bool(_WRITTEN.search(lower)), column.n_distinct)
    if not column.n_filled:
        return (0, *fits)
    if column.is_moment:
        return (5, *fits)
    if column.is_text and column.n_iso >= _NEARLY * column.n_filled:
        return (4, *fits)
    if column.is_text and _patterns(column, parts):
        return (3, *fits)
    if column.holds_numbers(".") and named and _epoch(column) is not None:
        return (2, *fits)
    if _COUNTED.search(lower) and column.n_whole == column.n_filled and column.low is not None and column.low >= 0:
        return (1, *fits)
    return (0, *fits)


def _epoch(column: Column) -> str | None:
    if column.low is None or column.high is None:
        return None
    units = [unit for unit, per in _EPOCHS.items() if _FROM_1990 <= column.low / per <= column.high / per <= _TO_2100]
    return units[0] if units else None


def _patterns(column: Column, parts: Sequence[Part]) -> list[str]:
    """The patterns by which nearly all of a column's cells are dates."""
    if not re.search(r"\d", column.first) or not re.search(r"[-/. ]|^\d{8}$", column.first):
        return []
    shape = len(re.findall(r":", column.first))
    clocks = [c for c in _CLOCKS if c.replace("%.f", "").count(":") == shape or (c.endswith("%z") and shape in (2, 3))]
    text = cells(pl.col(column.name))
    head = parts[0].scanned.select(text.drop_nulls().alias("cell")).head(50).collect()["cell"]
    wanted = [day + clock for day in _PATTERNS for clock in clocks]
    likely = [pattern for pattern in wanted if _reads(pl.lit(head), pattern, head.len())]
    if not likely:
        return []
    counted = [
        part.scanned.select(_parsed(text, pattern).is_not_null().sum().alias(pattern) for pattern in likely)
        for part in parts
    ]
    total = pl.concat(pl.collect_all(counted)).sum().row(0, named=True)
    most = max(total.values())
    return [pattern for pattern in likely if total[pattern] == most >= _NEARLY * column.n_filled]


def _reads(cell: pl.Expr, pattern: str, n: int) -> bool:
    if not n:
        return False
    try:
        return bool(pl.select(_parsed(cell, pattern).is_not_null().mean()).item() >= _NEARLY)
    except pl.exceptions.PolarsError:
        return False


def _parsed(text: pl.Expr, pattern: str) -> pl.Expr:
    if "%H" not in pattern and "%I" not in pattern:
        return text.str.to_date(pattern, strict=False)
    zone = "UTC" if "%z" in pattern else None
    return text.str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False)


def _choose_pattern(choices: Choices, time: Column, parts: Sequence[Part]) -> None:
    found = _patterns(time, parts)
    cell = _telling(time, parts, found)
    read = [f'time_format = "{pattern}"   # {cell} is {_as_read(cell, pattern)}' for pattern in found]
    if len(found) == 1:
        why = f"of the usual patterns this alone reads {_share(time, parts, found[0])} cells"
        choices.add("source.time_format", found[0], why)
    else:
        why = f"every cell, such as {cell}, can be read in {len(found)} ways"
        choices.add("source.time_format", None, why, *read, is_open=True)


def _share(time: Column, parts: Sequence[Part], pattern: str) -> str:
    parsed = _parsed(cells(pl.col(time.name)), pattern).is_not_null().sum().alias("n")
    n_read = sum(frame["n"][0] for frame in pl.collect_all([part.scanned.select(parsed) for part in parts]))
    return "all" if n_read == time.n_filled else f"{n_read} of {time.n_filled}"


def _telling(time: Column, parts: Sequence[Part], patterns: Sequence[str]) -> str:
    """A cell that is another day by each pattern."""
    text = cells(pl.col(time.name))
    read = [_parsed(text, pattern) for pattern in patterns[:2]]
    if len(read) < 2:
        return time.first
    found = parts[0].scanned.filter(read[0] != read[1]).select(text).head(1).collect()
    return found.item() if len(found) else time.first


def _as_read(cell: str, pattern: str) -> str:
    return str(pl.select(_parsed(pl.lit(cell), pattern).dt.strftime("%-d %B %Y")).item())


def choose_zone(choices: Choices, rows: pl.DataFrame, *, of_days: bool) -> None:
    """The zone of times without one (``rows``: time as the clock shows it), from days on which clocks change.

    An hour that such a clock skips is missing between days that have it, or is there where the clock does not change;
    one that it shows twice has twice the rows of that hour the day before and after, or as many.
    """
    if of_days:
        why = "times have no zone; rows are days, which are counted in this one"
        choices.add("source.timezone", "UTC", why, 'timezone = "Europe/Berlin"   # any IANA name, if days are of there')
        return
    clock = pl.col("time").dt.replace_time_zone(None).dt.truncate("1h").alias("clock")
    seen = rows.group_by(clock).len()
    expected = (
        seen.with_columns(pl.col("clock") + _DAY)
        .join(seen.with_columns(pl.col("clock") - _DAY), on="clock", suffix="_after")
        .join(seen, on="clock", how="left", suffix="_there")
        .with_columns((pl.col("len_there") >= _TWICE * pl.max_horizontal("len", "len_after")).alias("twice"))
    )
    skipped = {zone: expected.filter(_shown(zone, skips=True).is_null()) for zone in _ZONES}
    doubled = {zone: expected.filter(_shown(zone, skips=False).is_null()) for zone in _ZONES}
    told = {
        zone: [*skipped[zone]["len_there"].is_null(), *doubled[zone]["twice"].fill_null(value=False)] for zone in _ZONES
    }
    like = [zone for zone, signs in told.items() if signs and all(signs)]
    if len(like) == 1:
        (zone,) = like
        lines = _lines_of(zone, [*skipped[zone]["clock"], *doubled[zone]["clock"]])
        choices.add("source.timezone", zone, f"times have no zone; {_sign(skipped[zone], doubled[zone])} there", *lines)
    elif like:
        why = f"times have no zone; {_sign(skipped[like[0]], doubled[like[0]])} in several zones"
        lines = [f'timezone = "{zone}"' for zone in like]
        choices.add("source.timezone", None, why, *lines, is_open=True)
    else:
        is_told = all(told.values())
        why = (
            "times have no zone; hours are neither missing nor there twice when clocks change, so theirs does not"
            if is_told
            else "times have no zone, and the rows do not tell which"
        )
        choices.add("source.timezone", "UTC", why, 'timezone = "Europe/Berlin"   # any IANA name', is_open=not is_told)


def _lines_of(zone: str, changes: Sequence[datetime]) -> list[str]:
    """The zones that might stand in the place of one whose clocks skip or repeat these hours: theirs do, too."""
    region = f"{zone.split('/', maxsplit=1)[0]}/"
    others = [name for name in sorted(available_timezones()) if name.startswith(region) and name != zone]
    alike = [name for name in others if all(_changes(name, hour) for hour in changes)]
    same = [name for name in alike if _offsets(name, changes) == _offsets(zone, changes)]
    shifted = [name for name in alike if name not in same]
    lines = [f'timezone = "{same[0]}"   # or another of {len(same)} whose clocks show the same'] if same else []
    return lines + [f'timezone = "{name}"   # changes at that hour, too, at another moment' for name in shifted]


def _changes(zone: str, hour: datetime) -> bool:
    """Whether a clock of the zone skips or repeats this hour: the two readings of it are not one."""
    early, late = (hour.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
    return early.utcoffset() != late.utcoffset()


def _offsets(zone: str, hours: Sequence[datetime]) -> list[timedelta | None]:
    return [hour.replace(tzinfo=ZoneInfo(zone)).utcoffset() for hour in hours]


def _shown(zone: str, *, skips: bool) -> pl.Expr:
    """The moment of a clock's hour; null where the clock skips it, or else where it shows it twice."""
    clock = pl.col("clock")
    if skips:
        return clock.dt.replace_time_zone(zone, non_existent="null", ambiguous="earliest")
    there = clock.dt.replace_time_zone(zone, non_existent="null", ambiguous="earliest").is_not_null()
    return (
        pl.when(there)
        .then(clock.dt.replace_time_zone(zone, non_existent="null", ambiguous="null"))
        .otherwise(pl.datetime(1970, 1, 1, time_zone=zone))
    )


def _sign(skipped: pl.DataFrame, doubled: pl.DataFrame) -> str:
    hours = skipped if len(skipped) else doubled
    what = "is missing, as clocks skip it" if len(skipped) else "is there twice, as clocks show it"
    return f"{hours['clock'].sort().to_list()[0]:%Y-%m-%d %H:%M} {what}"
