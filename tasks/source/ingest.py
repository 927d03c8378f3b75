"""Read the source: only the columns that are used, only the rows known at ``as_of``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.durations import as_timedelta
from tasks.config.errors import SourceError
from tasks.config.moments import parse_as_of
from tasks.config.settings import Settings, Source
from tasks.source.untrusted import check_parquet

TIMESTAMP = pl.Datetime("us", "UTC")
RAW = "raw:"
_TIMES = (-(2**55), 2**57)  # microseconds: from the year 828 to 6536, where every zone can be counted in
_REFUSALS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True)
class Ingested:
    """Rows as they were known at ``as_of``, in the order of the source.

    Attributes
    ----------
    rows
        ``series_id`` (string), ``time`` (UTC), and every used column as a double named ``raw:<column>``.
    as_of
        Nothing later was used; None leaves it to the newest row that passes validation.
    delay
        How long after its time a row becomes known.
    zone
        The time zone in which days and months are counted.
    """

    rows: pl.DataFrame
    as_of: datetime | None
    delay: timedelta
    zone: str


def ingest(settings: Settings, as_of: str | datetime | None = None) -> Ingested:
    """The source's rows that were available at ``as_of``; by default all."""
    source = settings.source
    frozen, scanned, zone = check_source(settings, as_of)
    schema, delay = scanned.collect_schema(), as_timedelta(source.available_after)
    query = scanned.select(
        _series_id(schema, settings), _utc_time(schema, source), *(_number(column) for column in _inputs(settings))
    )
    if frozen is not None:
        query = query.filter(pl.col("time").is_null() | (pl.col("time") + delay <= frozen))
    return _checked(_collect(query, source.path), frozen, delay, zone, source)


def copy_known(settings: Settings, as_of: datetime, path: Path) -> Settings:
    """Write the source's own rows that were available at ``as_of`` to a Parquet file; settings that read that."""
    _, scanned, _ = check_source(settings, as_of)
    moment = _utc_time(scanned.collect_schema(), settings.source)
    available = moment.is_null() | (moment + as_timedelta(settings.source.available_after) <= as_of)
    _collect(scanned.filter(available), settings.source.path).write_parquet(path)
    return settings.model_copy(update={"source": settings.source.model_copy(update={"path": str(path)})})


def check_source(settings: Settings, as_of: str | datetime | None) -> tuple[datetime | None, pl.LazyFrame, str]:
    """The moment asked for, the source and its time zone, if its columns are as the configuration says."""
    frozen = parse_as_of(as_of, settings.source.timezone) if as_of is not None else None
    _distrust(settings)
    scanned = _scan(settings.source.path)
    schema = _schema(scanned, settings.source.path)
    zone = _zone(schema, settings.source)
    _series_id(schema, settings)
    _require_numbers(schema, _inputs(settings), settings.source.path)
    return frozen, scanned, zone


def _inputs(settings: Settings) -> list[str]:
    return list(dict.fromkeys(column for feature in settings.made_features.values() for column in feature.inputs))


ingest_task = task(name="ingest", cache_policy=NO_CACHE)(ingest)


def _distrust(settings: Settings) -> None:
    """Refuse files on this machine that claim what they cannot hold."""
    source = settings.source
    if source.path.endswith(".csv"):
        return
    try:
        check_parquet(source.path, [*_inputs(settings), source.time, *([source.series] if source.series else [])])
    except (ValueError, OSError, MemoryError) as error:
        raise _unreadable(source.path, error) from None


def _scan(path: str) -> pl.LazyFrame:
    try:
        if path.endswith(".csv"):
            return pl.scan_csv(path, try_parse_dates=True)
        if "://" not in path and Path(path).is_dir():
            return pl.scan_parquet(f"{path.rstrip('/')}/**/*.parquet", hive_partitioning=True)
        return pl.scan_parquet(path)
    except _REFUSALS as error:
        raise _unreadable(path, error) from None


def _schema(scanned: pl.LazyFrame, path: str) -> pl.Schema:
    try:
        schema = scanned.collect_schema()
    except _REFUSALS as error:
        raise _unreadable(path, error) from None
    return schema


def _collect(query: pl.LazyFrame, path: str) -> pl.DataFrame:
    try:
        return query.collect()
    except _REFUSALS as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: BaseException) -> SourceError:
    if isinstance(error, FileNotFoundError) or "expanded paths were empty" in str(error):
        return SourceError(f"source.path: found nothing at {path!r}; expected Parquet (or CSV) files there.")
    cause = (
        str(error).strip().splitlines()[0].split(" (set POLARS")[0].rstrip(".:") if str(error).strip() else "no reason"
    )
    return SourceError(f"source.path: {path!r} cannot be read: {cause}; expected unencrypted Parquet or a CSV file.")


def _require(schema: pl.Schema, column: str, key: str) -> pl.DataType:
    if column in schema:
        return schema[column]
    close = get_close_matches(column, list(schema), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(map(repr, list(schema)[:12]))}."
    raise SourceError(f"{key}: found no column {column!r} in the source; {hint}")


def _require_numbers(schema: pl.Schema, columns: list[str], path: str) -> None:
    for column in columns:
        dtype = _require(schema, column, "features")
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
            raise SourceError(f"features: column {column!r} of {path!r} holds {dtype}; expected numbers.")


def _series_id(schema: pl.Schema, settings: Settings) -> pl.Expr:
    column = settings.source.series
    if column is None:
        return pl.lit(settings.name).alias("series_id")
    dtype = _require(schema, column, "source.series")
    if dtype.is_float() or dtype.is_temporal() or dtype.is_nested():
        raise SourceError(f"source.series: column {column!r} holds {dtype}; expected text or integers.")
    return pl.col(column).cast(pl.String).fill_null("").alias("series_id")


def _zone(schema: pl.Schema, source: Source) -> str:
    dtype = _require(schema, source.time, "source.time")
    if dtype == pl.Date:
        return "UTC"
    if not isinstance(dtype, pl.Datetime):
        raise SourceError(f"source.time: column {source.time!r} holds {dtype}; expected dates or timestamps.")
    if dtype.time_zone is None and source.timezone is None:
        raise SourceError(
            f"source.time: column {source.time!r} holds timestamps without a zone; "
            'expected a zone: set `source.timezone`, such as "UTC".'
        )
    return source.timezone or str(dtype.time_zone)


def _utc_time(schema: pl.Schema, source: Source) -> pl.Expr:
    dtype = pl.Datetime("us", getattr(schema[source.time], "time_zone", None))
    stamps = pl.col(source.time).cast(dtype, strict=False)
    moments: pl.Expr = pl.when(stamps.to_physical().is_between(*_TIMES)).then(stamps)
    if schema[source.time] == pl.Date:
        moments = moments.dt.replace_time_zone("UTC")
    elif schema[source.time].time_zone is None:  # type: ignore[attr-defined]
        moments = moments.dt.replace_time_zone(source.timezone, ambiguous="null", non_existent="null")
    return moments.dt.convert_time_zone("UTC").alias("time")


def _number(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).fill_nan(None).alias(f"{RAW}{column}")


def _checked(rows: pl.DataFrame, frozen: datetime | None, delay: timedelta, zone: str, source: Source) -> Ingested:
    if rows.is_empty() and frozen is not None:
        raise SourceError(f"as_of: no row of {source.path!r} was available at {frozen.isoformat()}.")
    if rows.is_empty():
        raise SourceError(f"source.path: {source.path!r} holds no rows; expected at least one series.")
    if rows["time"].max() is None:
        raise SourceError(f"source.time: column {source.time!r} holds no readable time; expected dates or timestamps.")
    return Ingested(rows, frozen, delay, zone)
