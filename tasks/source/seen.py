"""The source before its rows are read: whether its columns, its times and its zone are as the configuration says.

What is wrong with it is found here, before anything is loaded that fits or tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from tasks.config.durations import as_timedelta
from tasks.config.errors import SourceError
from tasks.config.moments import parse_as_of, step_number
from tasks.config.sections.source import Source
from tasks.config.settings import Settings
from tasks.source.moments import Stamps, is_of_days, stamps_of, with_utc
from tasks.source.parts import Part, read_parts, unreadable
from tasks.source.query import query_part
from tasks.source.text import cells

RAW = "raw:"
MOMENT, KNOWN, WRITTEN, UNWRITTEN = "source:moment", "source:known", "source:written", "source:unwritten"
_FIRST = 1000
REFUSALS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True)
class SeenPart:
    """A part, how its times say when, and how another column does when a row was written, if one is used."""

    part: Part
    stamps: Stamps
    written: Stamps | None


@dataclass(frozen=True)
class Seen:
    """The source before its rows are read: the moment asked for, its parts, its zone."""

    as_of: datetime | None
    parts: list[SeenPart]
    zone: str


def check_source(settings: Settings, as_of: str | datetime | None, n_rows: int | None = None) -> Seen:
    """The moment asked for, the source and its time zone, if its columns are as the configuration says; of a query,
    if its first ``n_rows`` are enough, no more.
    """
    source = settings.source
    frozen = parse_as_of(as_of, source.timezone, counted=source.counts_steps) if as_of is not None else None
    parts = parts_of(source, wanted_columns(settings), n_rows)
    for part in parts:
        check_types(part, settings)
    seen = [seen_part(part, source) for part in parts]
    return Seen(frozen, seen, zone_of(parts, [found.stamps for found in seen], source))


def check_early(settings: Settings, as_of: str | datetime | None) -> None:
    """Raises ``SourceError`` for what can be said before anything is loaded. A query is not run to its end for it."""
    if settings.source.query is not None:
        check_source(settings, as_of, _FIRST)
    else:
        check_moment(check_source(settings, as_of), settings)


def parts_of(source: Source, wanted: Mapping[str, str], n_rows: int | None = None) -> list[Part]:
    """The parts of a source in order; of a query, if its first ``n_rows`` are enough, no more."""
    if source.query is not None:
        return [query_part(source, wanted, n_rows)]
    return read_parts(source.path, wanted, source.version)


def check_moment(seen: Seen, settings: Settings) -> None:
    """Raises ``SourceError`` if no row was available at the moment asked for, or rows end long before one to come."""
    if seen.as_of is None:
        return
    times = pl.concat([with_times(part, settings).select(MOMENT, KNOWN) for part in seen.parts])
    available = pl.col(KNOWN) <= seen.as_of
    asked = times.select(
        pl.col(KNOWN).min().alias("first"),
        pl.col(MOMENT).filter(available).max().alias("newest"),
        (pl.col(MOMENT).is_null() | available).any().alias("any"),
    )
    found = collected(asked, settings.source.path)
    if not found["any"][0] and found["first"][0] is not None:
        raise none_available(seen.as_of, settings.source, found["first"][0])
    if found["newest"][0] is not None:
        refuse_to_foresee(seen.as_of, found["newest"][0], settings.source)


def none_available(as_of: datetime, source: Source, first: datetime | None = None) -> SourceError:
    """What is wrong with a moment at which nothing was known yet."""
    begins = "" if first is None else f"; the first was at {told(first, source)}"
    return SourceError(f"as_of: no row of {source.path!r} was available at {told(as_of, source)}{begins}.")


def refuse_to_foresee(as_of: datetime, newest: datetime, source: Source) -> None:
    """What would be published of days to come, as days without values, could not be made good when they come."""
    now = datetime.now(UTC)
    if not source.counts_steps and as_of > now + timedelta(days=1) > newest:
        raise SourceError(
            f"as_of: {told(as_of, source)} is a moment to come, while the newest row is of {told(newest, source)}; "
            "expected one that has come."
        )


def collected(query: pl.LazyFrame, path: str) -> pl.DataFrame:
    """What a query of the source at ``path`` finds; raises ``SourceError`` where it cannot be read."""
    try:
        return query.collect()
    except REFUSALS as error:
        raise unreadable(path, error) from None


def wanted_columns(settings: Settings) -> dict[str, str]:
    """The columns that are read, and the key of the configuration that names each."""
    source = settings.source
    named = {"source.time": source.time, "source.series": source.series, "source.written_at": source.written_at}
    wanted = {column: key for key, column in named.items() if column is not None}
    return settings.source_columns | wanted


def check_types(part: Part, settings: Settings) -> None:
    """Raises ``SourceError`` for values that are no numbers, and series that are neither text nor whole numbers."""
    for column, key in settings.source_columns.items():
        dtype = part.schema[column]
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null, pl.String, pl.Categorical, pl.Enum)):
            raise SourceError(f"{key}: column {column!r} of {part.origin!r} holds {dtype}; expected numbers.")
    series = settings.source.series
    dtype = pl.String() if series is None else part.schema[series]
    if not (dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise SourceError(
            f"source.series: column {series!r} of {part.origin!r} holds {dtype}; expected text or integers."
        )


def seen_part(part: Part, source: Source) -> SeenPart:
    """The part, if its times can be read; raises ``SourceError`` where they say no moment, or one in no zone."""
    written = source.written_at and _stamps(part, source, source.written_at, "source.written_at")
    return SeenPart(part, _stamps(part, source, source.time, "source.time"), written or None)


def _stamps(part: Part, source: Source, column: str, key: str) -> Stamps:
    if source.counts_steps and key == "source.time" and part.schema[column].is_temporal():
        held = part.schema[column]
        raise SourceError(
            f"source.frequency: column {column!r} of {part.origin!r} holds {held}; {time_remedy(source)}."
        )
    try:
        found = stamps_of(part.scanned, column, part.schema[column], source.time_format)
    except REFUSALS as error:
        raise unreadable(source.path, error) from None
    if found is None:
        held = part.schema[column]
        hint = '; numbers need `source.time_format`: "s" or "ms" since 1970' if held.is_numeric() else ""
        raise SourceError(
            f"{key}: column {column!r} of {part.origin!r} holds {held}; expected dates or timestamps{hint}."
        )
    if found.kind == "clock" and source.timezone is None:
        raise SourceError(
            f"{key}: column {column!r} of {part.origin!r} holds timestamps without a zone; "
            'expected a zone: set `source.timezone`, such as "UTC".'
        )
    return found


def zone_of(parts: Sequence[Part], stamps: Sequence[Stamps], source: Source) -> str:
    """In which days are counted; the same whatever the order of the files."""
    kinds = {found.kind: part.origin for part, found in zip(parts, stamps, strict=True)}
    if "date" in kinds and len(kinds) > 1:
        other = next(found for found in stamps if found.kind != "date")
        raise SourceError(
            f"source.time: column {source.time!r} holds dates in {kinds['date']!r} and {other} in "
            f"{kinds[other.kind]!r}; expected one kind in all files."
        )
    if "date" in kinds:
        return "UTC"
    zones = {str(found.zone): part.origin for part, found in zip(parts, stamps, strict=True) if found.zone is not None}
    if source.timezone is not None or len(zones) == 1:
        return source.timezone or next(iter(zones))
    if any(map(is_of_days, source.frequencies.values())):
        (one, here), (another, there) = sorted(zones.items())[:2]
        raise SourceError(
            f"source.time: column {source.time!r} is in {one} in {here!r} and in {another} in {there!r}; "
            "expected one zone to count days in: set `source.timezone`."
        )
    return "UTC"


def series_id(settings: Settings) -> pl.Expr:
    """Text, as it stands: 01001 is not 1001."""
    column = settings.source.series
    return pl.lit(settings.name) if column is None else pl.col(column).cast(pl.String).fill_null("")


def with_times(seen: SeenPart, settings: Settings) -> pl.LazyFrame:
    """The part with when a row happened, and when it became known: once it was available, and written; and when that
    was. A row of which it cannot be read when it was written has no time, and says so.
    """
    source, series = settings.source, series_id(settings)
    rows = with_utc(seen.part.scanned, MOMENT, source.time, seen.stamps, source, series)
    available = pl.col(MOMENT) + as_timedelta(source.available_after)
    if seen.written is None or source.written_at is None:
        return rows.with_columns(available.alias(KNOWN))
    rows = with_utc(rows, WRITTEN, source.written_at, seen.written, source, series)
    cannot_be_read = pl.col(WRITTEN).is_null() & cells(pl.col(source.written_at)).is_not_null()
    rows = rows.with_columns(cannot_be_read.alias(UNWRITTEN)).with_columns(
        pl.when(~pl.col(UNWRITTEN)).then(MOMENT).alias(MOMENT), pl.col(WRITTEN).fill_null(available)
    )
    return rows.with_columns(pl.max_horizontal(available, WRITTEN).alias(KNOWN))


def told(moment: datetime, source: Source) -> str:
    """A moment as messages say it, or the number of its step."""
    return str(step_number(moment)) if source.counts_steps else moment.isoformat()


def time_remedy(source: Source) -> str:
    """How times are expected to be written."""
    if source.counts_steps:
        return (
            f"`source.frequency = {source.frequency}` counts steps, and expects whole numbers there; for dates and "
            'timestamps it is a text, such as "1d"'
        )
    if source.time_format is not None:
        return f"expected times as `source.time_format` ({source.time_format}) says"
    return (
        'expected ISO 8601, such as 2024-12-31 or 2024-12-31T17:00Z, or `source.time_format`, such as "%d.%m.%Y" for '
        '31.12.2024, "%m/%d/%Y" for 12/31/2024 and "%Y%m%d" for 20241231'
    )
