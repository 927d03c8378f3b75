"""A moment in two columns, days in one and times of day in another: a configuration cannot put them together."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from tasks.source.files import TEXT
from tasks.source.look.choices import Choices
from tasks.source.look.columns import Column
from tasks.source.parts import Part
from tasks.source.text import cells, separator

_CLOCK = r":\d{2}"
_MIDNIGHT = r"\b0?0:00(:00(\.0+)?)?"


def clock_beside(time: Column, columns: Sequence[Column], parts: Sequence[Part]) -> Column | None:
    """The first column of times of day that differ, where ``time`` holds days alone; None without one."""
    others = [column for column in columns if column.name != time.name and column.is_clock and column.n_distinct > 1]
    return others[0] if others and _holds_days(time, parts) else None


def _holds_days(time: Column, parts: Sequence[Part]) -> bool:
    column = pl.col(time.name)
    if time.is_text:
        timed = cells(column).str.contains(_CLOCK) & ~cells(column).str.contains(_MIDNIGHT)
    elif time.dtype == pl.Date:
        return True
    elif time.is_moment:
        timed = column.dt.time() != pl.time(0)
    else:
        return False
    return not any(frame.item() for frame in pl.collect_all([part.scanned.select(timed.any()) for part in parts]))


def choose_neither(choices: Choices, time: Column, clock: Column, origin: str) -> None:
    """Leave the time open: which column says when is not decided before there is one."""
    why = (
        f"{time.name!r} holds days, such as {time.first}, and {clock.name!r} the times of day, such as {clock.first}: "
        "two halves of one moment. Write both into one column of the source, as the line below does, and look at that"
    )
    halves = json.dumps([time.name, clock.name], ensure_ascii=False)
    moment = f'pl.concat_str({_day(time)}, {_of_day(clock)}, separator=" ").alias("moment")'
    lines = (
        f'# {_read(origin)}.with_columns({moment}).drop({halves}).write_csv("joined.csv")',
        f"time = {json.dumps(time.name, ensure_ascii=False)}   # if the days alone are meant",
    )
    choices.add("source.time", None, why, *lines, is_open=True)


def _read(origin: str) -> str:
    if not origin.lower().endswith((*TEXT, ".txt")):
        return f"pl.read_parquet({json.dumps(origin, ensure_ascii=False)})"
    mark = separator(origin, [])
    more = "" if mark == "," else f", separator={json.dumps(mark)}"
    return f"pl.read_csv({json.dumps(origin, ensure_ascii=False)}, infer_schema=False{more})"


def _day(time: Column) -> str:
    name = json.dumps(time.name, ensure_ascii=False)
    if isinstance(time.dtype, pl.Datetime):
        return f"pl.col({name}).dt.date()"
    return f'pl.col({name}).str.replace(r"[T ].*", "")' if ":" in time.first else f"pl.col({name})"


def _of_day(clock: Column) -> str:
    name = json.dumps(clock.name, ensure_ascii=False)
    if clock.holds_hours:
        return f'pl.col({name}).cast(pl.String).str.zfill(2) + ":00"'
    return f"pl.col({name})"
