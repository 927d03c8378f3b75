"""Where the rows are, and how their times are to be read."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field, model_validator

from tasks.config.durations import Delay, parse_frequency
from tasks.config.moments import told_day
from tasks.config.sections.section import Count, Place, Section, is_database
from tasks.config.settings_errors import closest

RESAMPLERS = ("first", "last", "mean", "sum", "min", "max")
EPOCHS = ("s", "ms", "us", "ns")
EVERY_OTHER = "*"  # the series that `source.frequency` does not name


def _known_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        meant = _zone_like(name)
        hint = "" if meant is None else f"; did you mean {meant!r}?"
        raise ValueError(f"an IANA time zone such as UTC or America/New_York{hint}") from None
    return name


def _zone_like(name: str) -> str | None:
    """The zone that has this name, or nearly, with its region or without."""
    zones = sorted(available_timezones())
    of_city = {zone.rsplit("/", 1)[-1]: zone for zone in zones}
    return closest(name, zones, cutoff=0.8) or of_city.get(closest(name, of_city, cutoff=0.8) or "")


def _time_format(pattern: str) -> str:
    if pattern not in EPOCHS and ("%" not in pattern or not pattern.isprintable()):
        raise ValueError(f'a pattern such as "%m/%d/%Y" or "%d.%m.%Y %H:%M", or {", ".join(EPOCHS)} since 1970')
    return pattern


def _frequencies(found: str | int | dict[str, str]) -> str | int | dict[str, str]:
    for frequency in found.values() if isinstance(found, dict) else (found,):
        if isinstance(frequency, str):
            parse_frequency(frequency)
    return found


def _resamplers(found: str | dict[str, str]) -> str | dict[str, str]:
    for how in found.values() if isinstance(found, dict) else (found,):
        if how not in RESAMPLERS:
            raise ValueError(f"one of {', '.join(RESAMPLERS)}, or one for each column that features use")
    return found


def in_seconds(section: Any, key: str) -> None:
    """A number of counted steps, as the length of time that stands for it: see docs/decisions/0010-counted-time.md."""
    if isinstance(section, dict) and type(section.get(key)) is int:
        section[key] = f"{section[key]}s"


TimeFormat = Annotated[str, AfterValidator(_time_format)]
Timezone = Annotated[str, AfterValidator(_known_timezone)]


class Source(Section):
    """Where the rows are and how their times are to be read."""

    path: Place
    """A Parquet or CSV file, a glob, a folder of files (hive-partitioned too), a Delta table, or a place such as s3://…
    or postgresql://user@host/database.
    """
    query: Annotated[str, Field(min_length=1)] | None = None
    """Where `path` is a PostgreSQL database: the SELECT whose rows are the source, in its order."""
    version: Annotated[int, Field(ge=0)] | None = None
    """Where `path` is a Delta table: which version of it; the newest, if none is named."""
    time: str
    """The column that says when a row happened."""
    time_format: TimeFormat | None = None
    """How times are written as text, such as "%d.%m.%Y %H:%M"; or "s", "ms", "us", "ns" for numbers since 1970."""
    series: str | None = None
    """The column that names the series; without one, all rows are one series."""
    timezone: Timezone | None = None
    """The zone of times that are written without one, and in which days are counted."""
    ambiguous: Literal["reject", "earliest", "latest", "infer"] = "reject"
    """Which of two hours a time means that a clock shows twice."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers that are written as text."""
    frequency: Annotated[str | Count | dict[str, str], AfterValidator(_frequencies)] | None = None
    """The calendar: one step, such as "1bd", "1h" or "15m", whose gaps become rows marked MISSING; a whole number
    where `time` counts steps (cycles, trials); or a table of series to their own, "*" being all others. Without it,
    rows are steps.
    """
    counts: Literal["own", "shared"] = "own"
    """Where `time` counts steps, whose: each series its own (machines, each from its first cycle on), or all the same
    (sensors of one machine), so that a series whose count has ended lacks what the others have since.
    """
    off_calendar: Literal["reject", "drop", "snap"] = "reject"
    """What becomes of rows that the calendar has no place for."""
    resample: Annotated[str | dict[str, str], AfterValidator(_resamplers)] | None = None
    """How several rows become one step: first, last, mean, sum, min or max, or a table of columns to these."""
    available_after: Delay = "0"
    """How long after its time a row is known. A close stamped at midnight is not known at midnight."""
    written_at: str | None = None
    """The column that says when a row was written: of several versions, that known at the moment counts."""
    duplicates: Literal["reject", "drop_same", "keep_last"] = "reject"
    """What becomes of several rows of one series and time: their series is set aside; it is unless they hold the same
    values; or the last counts.
    """
    unsorted: Literal["sort", "reject"] = "sort"
    """What becomes of rows that are not in order of time."""
    bad_values: Literal["reject", "mark_missing"] = "reject"
    """What becomes of a cell that holds a text for a number, or an infinite one: its series is set aside, or it counts
    as missing.
    """
    missing_context: Literal["reject", "mark_missing", "last_known"] = "reject"
    """What becomes of a row that has values and lacks a context: its series is set aside, its values count as missing,
    or the last known context of the series is carried forward.
    """
    states: str | None = None
    """A column of known states: their numbers from 0 on, nothing or -1 where they are unknown. They keep their
    numbers.
    """
    min_rows: Count = 20
    """Rows with values that a series needs in its training window."""
    stale_after: Count = 10
    """Steps without a value after which a series is called STALE rather than MISSING."""
    wild_spreads: Annotated[float, Field(gt=1)] = 1e4
    """How far a value may lie from the others, in spreads from the 5 % to the 95 % quantile, before its series is set
    aside.
    """

    @model_validator(mode="before")
    @classmethod
    def _counts_steps_where_its_frequency_is_a_number(cls, given: Any) -> Any:
        if not isinstance(given, dict) or type(given.get("frequency")) is not int:
            return given
        counted = {"time_format": "s", **given}
        in_seconds(counted, "available_after")
        return counted

    @model_validator(mode="after")
    def _databases_are_asked(self) -> Self:
        if is_database(self.path) and self.query is None:
            raise ValueError("`query`, the SELECT whose rows are the source, together with a database in `path`")
        if self.query is not None and not is_database(self.path):
            raise ValueError("`query` together with a `path` such as postgresql://user@host/database")
        if self.query is not None and self.version is not None:
            raise ValueError("`version` together with a `path` that is a Delta table, not with a `query`")
        return self

    @model_validator(mode="after")
    def _counted_steps_have_no_clock(self) -> Self:
        if self.counts_steps and (self.time_format, self.timezone, self.resample) != ("s", None, None):
            raise ValueError(f"frequency = {self.frequency} without `time_format`, `timezone` and `resample`")
        return self

    @model_validator(mode="after")
    def _counts_are_of_counted_steps(self) -> Self:
        if "counts" in self.model_fields_set and not self.counts_steps:
            raise ValueError("`counts` together with a `frequency` that is a whole number, where `time` counts steps")
        return self

    @model_validator(mode="after")
    def _resamples_to_steps(self) -> Self:
        if self.resample is not None and (self.frequency is None or EVERY_OTHER not in self.frequencies):
            raise ValueError(f'`resample` together with a `frequency` for every series ("{EVERY_OTHER}": the others)')
        return self

    @property
    def frequencies(self) -> dict[str, str]:
        """The calendar of each series that has one of its own, and of all others under :data:`EVERY_OTHER`."""
        if self.frequency is None:
            return {}
        if isinstance(self.frequency, int):
            return {EVERY_OTHER: f"{self.frequency}s"}
        return self.frequency if isinstance(self.frequency, dict) else {EVERY_OTHER: self.frequency}

    @property
    def counts_steps(self) -> bool:
        """Whether times are whole numbers - cycles, trials - rather than moments."""
        return isinstance(self.frequency, int)

    def told(self, moment: datetime) -> str:
        """A moment's date, or the number of its step."""
        return told_day(moment, counted=self.counts_steps)

    @property
    def has_own_counts(self) -> bool:
        """Whether each series counts its own steps, so that the end of one says nothing of the others."""
        return self.counts_steps and self.counts == "own"
