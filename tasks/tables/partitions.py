"""The days of a backfill, and what the table knows of each."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tasks.config.durations import as_timedelta
from tasks.config.errors import ConfigurationError
from tasks.config.moments import told_day
from tasks.config.outcome import Partition
from tasks.config.settings import Settings
from tasks.tables.runs import read_runs
from tasks.tables.states import published_after

_STEP = re.compile(r"([1-9]\d*)(d|w|mo|q|y)")
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_MOST = 100_000


def partitions(start: datetime, end: datetime, every: str, *, counted: bool = False) -> list[datetime]:
    """Moments from start to end, both included where the step meets them; from a month's end to months' ends.

    Where steps are ``counted``, ``every`` is a number of them.
    """
    count, unit = _parsed(every, counted=counted)
    if end < start:
        first, last = (told_day(moment, counted=counted) for moment in (start, end))
        raise ConfigurationError(f"--end: found {last}, which is before --start {first}.")
    moments: list[datetime] = []
    while len(moments) < _MOST:
        moment = _after(start, len(moments) * count, unit)
        if moment > end:
            return moments
        moments.append(moment)
    raise ConfigurationError(f"--every: {every} makes more than {_MOST} partitions; choose a longer step.")


def _parsed(every: str, *, counted: bool) -> tuple[int, str]:
    if counted:
        if re.fullmatch(r"[1-9][0-9]{0,10}", every) is None:
            raise ConfigurationError(f"--every: found {every!r}; expected a number of steps, such as 50.")
        return int(every), "steps"
    step = _STEP.fullmatch(every)
    if step is None:
        raise ConfigurationError(f"--every: found {every!r}; expected a step such as 1d, 1w, 1mo, 1q or 1y.")
    return int(step[1]), step[2]


def ledger(settings: Settings, moments: list[datetime]) -> pl.DataFrame:
    """One row a partition: ``as_of``, ``status`` (MISSING, RUNNING, FAILED, DONE), ``detail``, oldest first.

    RUNNING is what a run that was killed leaves behind, too; it is made again like one that is missing.
    """
    wanted = pl.DataFrame({"as_of": moments}, schema={"as_of": pl.Datetime("us", "UTC")})
    known = read_runs(settings.output.states, settings.name).select("as_of", "status", "detail", "run_key")
    return wanted.join(known, on="as_of", how="left", maintain_order="left").with_columns(
        pl.col("status").fill_null("MISSING"), pl.col("detail").fill_null("")
    )


def told(row: Mapping[str, Any]) -> Partition:
    """A row of the :func:`ledger` as plain values."""
    return {
        "as_of": row["as_of"].isoformat(),
        "status": row["status"],
        "detail": row["detail"],
        "run_key": row["run_key"],
    }


def known_later(settings: Settings, moments: Sequence[datetime]) -> list[str]:
    """What a user should know of rows that nights later than the last of these days have published: they stay."""
    last = moments[-1]
    newest = last - as_timedelta(settings.source.available_after)
    n_rows, since = published_after(settings.output.states, settings.name, newest, last)
    if since is None:
        return []
    counted = settings.source.counts_steps
    what = "step" if counted else "day"
    return [
        f"{n_rows} rows of these {what}s are published as of {told_day(since, counted=counted)} or later, and stay; a "
        f"backfill adds none of them. For what each of these {what}s would have known, choose another `output.states`."
    ]


def _after(start: datetime, count: int, unit: str) -> datetime:
    if unit == "steps":
        return start + timedelta(seconds=count)
    if unit in ("d", "w"):
        return start + timedelta(days=count * (7 if unit == "w" else 1))
    month = start.month - 1 + count * _MONTHS[unit]
    year, month = start.year + month // 12, month % 12 + 1
    last = calendar.monthrange(year, month)[1]
    at_end = start.day == calendar.monthrange(start.year, start.month)[1]
    return start.replace(year=year, month=month, day=last if at_end else min(start.day, last))
