"""Read the source: only the columns that are used, only the rows known at ``as_of``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.durations import as_timedelta
from tasks.config.errors import SourceError
from tasks.config.sections.source import Source
from tasks.config.settings import Settings
from tasks.source.files import file_marks, mark_of
from tasks.source.parts import FILE, ROW, WHERE, Part
from tasks.source.seen import (
    KNOWN,
    MOMENT,
    RAW,
    UNWRITTEN,
    WRITTEN,
    Seen,
    SeenPart,
    check_source,
    check_types,
    collected,
    none_available,
    parts_of,
    refuse_to_foresee,
    seen_part,
    series_id,
    time_remedy,
    wanted_columns,
    with_times,
    zone_of,
)
from tasks.source.text import cells, number

_THOUSANDS = re.compile(r"'-?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?'$|'-?[1-9]\d{0,2}(?:\.\d{3})+,\d+'$")
_ONE_COMMA = re.compile(r"'-?\d+,\d+'$")


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


def ingest(settings: Settings, as_of: str | datetime | None = None) -> Ingested:
    """The source's rows that were available at ``as_of``; by default all."""
    source, seen = settings.source, check_source(settings, as_of)
    query = pl.concat([_rows(part, settings) for part in seen.parts])
    if seen.as_of is not None:
        query = query.filter(pl.col("time").is_null() | (pl.col("known") <= seen.as_of))
    if source.written_at is not None:
        newest = pl.col("written") == pl.col("written").max().over("series_id", "time")
        query = query.filter(pl.col("time").is_null() | newest).drop("written")
    return _checked(_collected_whole(query, source), seen, settings)


def _collected_whole(query: pl.LazyFrame, source: Source) -> pl.DataFrame:
    """Its rows; raises ``SourceError`` where a file changed while it was read, so that half of it may be of before."""
    before = {} if source.query is not None else file_marks(source.path)
    rows = collected(query, source.path)
    if before and (other := next((file for file, mark in before.items() if mark_of(file) != mark), None)):
        raise SourceError(
            f"source.path: {other!r} changed while it was read; expected files that are whole: run again, and move "
            "files into place once they are written."
        )
    return rows


ingest_task = task(name="ingest", cache_policy=NO_CACHE)(ingest)


def ingest_frame(frame: pl.DataFrame, settings: Settings) -> Ingested:
    """The rows of a frame that has the source's columns, read as :func:`ingest` reads those of files."""
    placed = frame.lazy().with_row_index(ROW, offset=1).with_columns(pl.lit("the input").alias(FILE))
    part = Part("the input", placed, frame.schema)
    check_types(part, settings)
    seen = seen_part(part, settings.source)
    rows = collected(_rows(seen, settings), part.origin)
    return _checked(rows, Seen(None, [seen], zone_of([part], [seen.stamps], settings.source)), settings)


def example(settings: Settings, n_rows: int = 20) -> pl.DataFrame:
    """The first rows of the source as they are stored, the used columns only, and numbers as such."""
    wanted, source = wanted_columns(settings), settings.source
    part = parts_of(source, wanted, n_rows)[0]
    numbers = {column: _number(column, part.schema[column], source) for column in settings.source_columns}
    columns = [numbers.get(column, pl.col(column)).alias(column) for column in wanted]
    return collected(part.scanned.select(columns).head(n_rows), source.path)


def copy_known(settings: Settings, as_of: datetime, folder: Path) -> Settings:
    """Write the source's own rows that were available at ``as_of`` into a folder; settings that read that."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, seen in enumerate(check_source(settings, as_of).parts):
        moment = pl.col(MOMENT)
        available = with_times(seen, settings).filter(moment.is_null() | (pl.col(KNOWN) <= as_of))
        kept = collected(available.select(*seen.part.schema), settings.source.path)
        kept.write_parquet(folder / f"{place:05d}.parquet")
    copied = {"path": str(folder), "query": None, "version": None}
    return settings.model_copy(update={"source": settings.source.model_copy(update=copied)})


def _rows(seen: SeenPart, settings: Settings) -> pl.LazyFrame:
    source = settings.source
    columns = [(column, seen.part.schema[column]) for column in settings.source_columns]
    return with_times(seen, settings).select(
        series_id(settings).alias("series_id"),
        pl.col(MOMENT).alias("time"),
        pl.col(KNOWN).alias("known"),
        *([] if seen.written is None else [pl.col(WRITTEN).alias("written")]),
        *(_number(column, dtype, source).alias(f"{RAW}{column}") for column, dtype in columns),
        pl.col(FILE),
        pl.col(ROW),
        _flaw(pl.col(MOMENT), columns, source).alias("flaw"),
    )


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical, pl.Enum)


def _number(column: str, dtype: pl.DataType, source: Source) -> pl.Expr:
    found = number(pl.col(column), source.decimal) if _is_text(dtype) else pl.col(column).cast(pl.Float64)
    found = found.fill_nan(None)
    return found if source.bad_values == "reject" else pl.when(found.is_finite()).then(found)


def _flaw(moment: pl.Expr, columns: Sequence[tuple[str, pl.DataType]], source: Source) -> pl.Expr:
    """What of a row could not be read: the first cell that holds something else."""
    time = pl.col(source.time).cast(pl.String)
    held = pl.when(time.str.strip_chars() != "").then(pl.format(f"{source.time} holds '{{}}'", time))
    flaws = [pl.when(moment.is_null()).then(held.otherwise(pl.lit(f"{source.time} is empty")))]
    if source.written_at is not None:
        written = pl.col(source.written_at).cast(pl.String)
        flaws.insert(0, pl.when(pl.col(UNWRITTEN)).then(pl.format(f"{source.written_at} holds '{{}}'", written)))
    for column, dtype in columns:
        if _is_text(dtype):
            cell = cells(pl.col(column))
            wrong = cell.is_not_null() & _number(column, dtype, source).is_null()
            flaws.append(pl.when(wrong).then(pl.format(f"{column} holds '{{}}'", cell)))
        elif source.bad_values == "mark_missing" and dtype.is_float():
            infinite = pl.col(column).cast(pl.Float64).is_infinite()
            flaws.append(pl.when(infinite).then(pl.format(f"{column} holds '{{}}'", column)))
    return pl.coalesce(flaws)


def _checked(rows: pl.DataFrame, seen: Seen, settings: Settings) -> Ingested:
    source = settings.source
    if rows.is_empty() and seen.as_of is not None:
        raise none_available(seen.as_of, source)
    if rows.is_empty():
        raise SourceError(f"source.path: {source.path!r} holds no rows; expected at least one series.")
    if rows["time"].max() is None:
        flaws = rows["flaw"].drop_nulls().head(1).to_list()
        found = f"has no time that can be read ({flaws[0]})" if flaws else "holds no readable time"
        raise SourceError(f"source.time: column {source.time!r} {found}; {time_remedy(source)}.")
    if seen.as_of is not None:
        refuse_to_foresee(seen.as_of, rows["time"].drop_nulls().sort()[-1], source)
    for column, key in settings.source_columns.items():
        flawed = rows.filter(pl.col("flaw").str.starts_with(f"{column} holds '"))
        if len(flawed) and rows[f"{RAW}{column}"].null_count() == len(rows):
            raise SourceError(
                f"{key}: column {column!r} of {source.path!r} holds String; expected numbers: "
                f"{flawed.select(WHERE).item(0, 0)} {flawed['flaw'][0]}{_number_remedy(flawed['flaw'][0], source)}."
            )
    return Ingested(rows, seen.as_of, as_timedelta(source.available_after), seen.zone)


def _number_remedy(flaw: str, source: Source) -> str:
    if _THOUSANDS.search(flaw):
        told = "; remove the marks between thousands"
        return f'{told}, or for decimal commas set `source.decimal = ","`' if _may_be_decimal(flaw, source) else told
    if source.decimal == ",":
        return '; with `source.decimal = ","` a point is no decimal mark' if "." in flaw else ""
    return '; for decimal commas set `source.decimal = ","`' if "," in flaw else ""


def _may_be_decimal(flaw: str, source: Source) -> bool:
    return source.decimal == "." and bool(_ONE_COMMA.search(flaw))
