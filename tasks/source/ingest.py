"""Read the source: only the columns that are used, only the rows known at ``as_of``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.durations import as_timedelta
from tasks.config.errors import SourceError
from tasks.config.moments import parse_as_of, step_number
from tasks.config.sections.source import Source
from tasks.config.settings import Settings
from tasks.source.moments import Stamps, is_of_days, stamps_of, with_utc
from tasks.source.parts import FILE, ROW, Part, read_parts, unreadable
from tasks.source.text import cells, number

RAW = "raw:"
_THOUSANDS = re.compile(r"'-?\d{1,3}(?:,\d{3})+(?:\.\d+)?'$|'-?\d{1,3}(?:\.\d{3})+,\d+'$")
_MOMENT, _KNOWN, _WRITTEN = "source:moment", "source:known", "source:written"
_REFUSALS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True)
class Ingested:
    """Rows as they were known at ``as_of``, in the order of the source.

    Attributes
    ----------
    rows
        ``series_id`` (string), ``time`` (UTC), ``known`` (when the row became known), every used column as a double
        named ``raw:<column>``; ``file`` and ``row`` say where it stands, ``flaw`` what of it could not be read.
    as_of
        Nothing later was used; None leaves it to the newest row that passes validation.
    delay
        How long after its time a row is available.
    zone
        The time zone in which days and months are counted.
    """

    rows: pl.DataFrame
    as_of: datetime | None
    delay: timedelta
    zone: str


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


def ingest(settings: Settings, as_of: str | datetime | None = None) -> Ingested:
    """The source's rows that were available at ``as_of``; by default all."""
    source, seen = settings.source, check_source(settings, as_of)
    query = pl.concat([_rows(part, settings) for part in seen.parts])
    if seen.as_of is not None:
        query = query.filter(pl.col("time").is_null() | (pl.col("known") <= seen.as_of))
    if source.written_at is not None:
        newest = pl.col("written") == pl.col("written").max().over("series_id", "time")
        query = query.filter(pl.col("time").is_null() | newest).drop("written")
    return _checked(_collect(query, source.path), seen, settings)


ingest_task = task(name="ingest", cache_policy=NO_CACHE)(ingest)


def ingest_frame(frame: pl.DataFrame, settings: Settings) -> Ingested:
    """The rows of a frame that has the source's columns, read as :func:`ingest` reads those of files."""
    placed = frame.lazy().with_row_index(ROW, offset=1).with_columns(pl.lit("the input").alias(FILE))
    part = Part("the input", placed, frame.schema)
    _check_types(part, settings)
    seen = _seen(part, settings.source)
    rows = _collect(_rows(seen, settings), part.origin)
    return _checked(rows, Seen(None, [seen], _zone([part], [seen.stamps], settings.source)), settings)


def example(settings: Settings, n_rows: int = 20) -> pl.DataFrame:
    """The first rows of the source as they are stored, the used columns only, and numbers as such."""
    wanted, source = _wanted(settings), settings.source
    part = read_parts(source.path, wanted)[0]
    numbers = {column: _number(column, part.schema[column], source.decimal) for column in settings.source_columns}
    columns = [numbers.get(column, pl.col(column)).alias(column) for column in wanted]
    return _collect(part.scanned.select(columns).head(n_rows), source.path)


def copy_known(settings: Settings, as_of: datetime, folder: Path) -> Settings:
    """Write the source's own rows that were available at ``as_of`` into a folder; settings that read that."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, seen in enumerate(check_source(settings, as_of).parts):
        moment = pl.col(_MOMENT)
        available = _with_times(seen, settings).filter(moment.is_null() | (pl.col(_KNOWN) <= as_of))
        kept = _collect(available.select(*seen.part.schema), settings.source.path)
        kept.write_parquet(folder / f"{place:05d}.parquet")
    return settings.model_copy(update={"source": settings.source.model_copy(update={"path": str(folder)})})


def check_source(settings: Settings, as_of: str | datetime | None) -> Seen:
    """The moment asked for, the source and its time zone, if its columns are as the configuration says."""
    source = settings.source
    frozen = parse_as_of(as_of, source.timezone, counted=source.counts_steps) if as_of is not None else None
    parts = read_parts(source.path, _wanted(settings))
    for part in parts:
        _check_types(part, settings)
    seen = [_seen(part, source) for part in parts]
    return Seen(frozen, seen, _zone(parts, [found.stamps for found in seen], source))


def _wanted(settings: Settings) -> dict[str, str]:
    source = settings.source
    named = {"source.time": source.time, "source.series": source.series, "source.written_at": source.written_at}
    wanted = {column: key for key, column in named.items() if column is not None}
    return settings.source_columns | wanted


def _check_types(part: Part, settings: Settings) -> None:
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


def _seen(part: Part, source: Source) -> SeenPart:
    written = source.written_at and _stamps(part, source, source.written_at, "source.written_at")
    return SeenPart(part, _stamps(part, source, source.time, "source.time"), written or None)


def _stamps(part: Part, source: Source, column: str, key: str) -> Stamps:
    if source.counts_steps and key == "source.time" and part.schema[column].is_temporal():
        held = part.schema[column]
        raise SourceError(
            f"source.frequency: column {column!r} of {part.origin!r} holds {held}; {_time_remedy(source)}."
        )
    try:
        found = stamps_of(part.scanned, column, part.schema[column], source.time_format)
    except _REFUSALS as error:
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


def _zone(parts: Sequence[Part], stamps: Sequence[Stamps], source: Source) -> str:
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


def _rows(seen: SeenPart, settings: Settings) -> pl.LazyFrame:
    source = settings.source
    columns = [(column, seen.part.schema[column]) for column in settings.source_columns]
    return _with_times(seen, settings).select(
        _series_id(settings).alias("series_id"),
        pl.col(_MOMENT).alias("time"),
        pl.col(_KNOWN).alias("known"),
        *([] if seen.written is None else [pl.col(_WRITTEN).alias("written")]),
        *(_number(column, dtype, source.decimal).alias(f"{RAW}{column}") for column, dtype in columns),
        pl.col(FILE),
        pl.col(ROW),
        _flaw(pl.col(_MOMENT), columns, source).alias("flaw"),
    )


def _series_id(settings: Settings) -> pl.Expr:
    """Text, as it stands: 01001 is not 1001."""
    column = settings.source.series
    return pl.lit(settings.name) if column is None else pl.col(column).cast(pl.String).fill_null("")


def _with_times(seen: SeenPart, settings: Settings) -> pl.LazyFrame:
    """The part with when a row happened, and when it became known: once it was available, and written; and when that
    was.
    """
    source, series = settings.source, _series_id(settings)
    rows = with_utc(seen.part.scanned, _MOMENT, source.time, seen.stamps, source, series)
    available = pl.col(_MOMENT) + as_timedelta(source.available_after)
    if seen.written is None or source.written_at is None:
        return rows.with_columns(available.alias(_KNOWN))
    rows = with_utc(rows, _WRITTEN, source.written_at, seen.written, source, series)
    rows = rows.with_columns(pl.col(_WRITTEN).fill_null(available))
    return rows.with_columns(pl.max_horizontal(available, _WRITTEN).alias(_KNOWN))


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def _number(column: str, dtype: pl.DataType, decimal: str) -> pl.Expr:
    found = number(pl.col(column), decimal) if _is_text(dtype) else pl.col(column).cast(pl.Float64)
    return found.fill_nan(None)


def _flaw(moment: pl.Expr, columns: Sequence[tuple[str, pl.DataType]], source: Source) -> pl.Expr:
    """What of a row could not be read: the first cell that holds something else."""
    time = pl.col(source.time).cast(pl.String)
    flaws = [pl.when(moment.is_null() & time.is_not_null()).then(pl.format(f"{source.time} holds '{{}}'", time))]
    for column, dtype in columns:
        if _is_text(dtype):
            cell = cells(pl.col(column))
            wrong = cell.is_not_null() & number(pl.col(column), source.decimal).is_null()
            flaws.append(pl.when(wrong).then(pl.format(f"{column} holds '{{}}'", cell)))
    return pl.coalesce(flaws)


def _collect(query: pl.LazyFrame, path: str) -> pl.DataFrame:
    try:
        return query.collect()
    except _REFUSALS as error:
        raise unreadable(path, error) from None


def _checked(rows: pl.DataFrame, seen: Seen, settings: Settings) -> Ingested:
    source = settings.source
    if rows.is_empty() and seen.as_of is not None:
        raise SourceError(f"as_of: no row of {source.path!r} was available at {_told(seen.as_of, source)}.")
    if rows.is_empty():
        raise SourceError(f"source.path: {source.path!r} holds no rows; expected at least one series.")
    if rows["time"].max() is None:
        flaws = rows["flaw"].drop_nulls().head(1).to_list()
        found = f"has no time that can be read ({flaws[0]})" if flaws else "holds no readable time"
        raise SourceError(f"source.time: column {source.time!r} {found}; {_time_remedy(source)}.")
    if seen.as_of is not None and not source.counts_steps:
        _refuse_to_foresee(seen.as_of, rows["time"].drop_nulls().sort()[-1], source)
    for column, key in settings.source_columns.items():
        flawed = rows.filter(pl.col("flaw").str.starts_with(f"{column} holds '"))
        if len(flawed) and rows[f"{RAW}{column}"].null_count() == len(rows):
            raise SourceError(
                f"{key}: column {column!r} of {source.path!r} holds String; expected numbers: {place_of(flawed, 0)} "
                f"{flawed['flaw'][0]}{_number_remedy(flawed['flaw'][0], source)}."
            )
    return Ingested(rows, seen.as_of, as_timedelta(source.available_after), seen.zone)


def _refuse_to_foresee(as_of: datetime, newest: datetime, source: Source) -> None:
    """What would be published of days to come, as days without values, could not be made good when they come."""
    now = datetime.now(UTC)
    if as_of > now + timedelta(days=1) > newest:
        raise SourceError(
            f"as_of: {_told(as_of, source)} is a moment to come, while the newest row is of {_told(newest, source)}; "
            "expected one that has come."
        )


def _told(moment: datetime, source: Source) -> str:
    return str(step_number(moment)) if source.counts_steps else moment.isoformat()


def _time_remedy(source: Source) -> str:
    if source.counts_steps:
        return (
            f"`source.frequency = {source.frequency}` counts steps, and expects whole numbers there; for dates and "
            'timestamps it is a text, such as "1d"'
        )
    if source.time_format is not None:
        return f"expected times as `source.time_format` ({source.time_format}) says"
    return (
        'expected ISO 8601, such as 2024-12-31 or 2024-12-31T17:00Z, or `source.time_format`, such as "%d.%m.%Y" for '
        '31.12.2024 and "%m/%d/%Y" for 12/31/2024'
    )


def _number_remedy(flaw: str, source: Source) -> str:
    if _THOUSANDS.search(flaw):
        return "; remove the marks between thousands"
    if source.decimal == ",":
        return '; with `source.decimal = ","` a point is no decimal mark' if "." in flaw else ""
    return '; for decimal commas set `source.decimal = ","`' if "," in flaw else ""


def place_of(rows: pl.DataFrame, index: int) -> str:
    """Where one of these rows stands in the source."""
    return f"row {rows[ROW][index]} of {Path(rows[FILE][index]).name}"
