"""The source as it is stored: its used columns, one part for each run of files that store them alike."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tasks.config.errors import SourceError
from tasks.config.settings_errors import closest
from tasks.source.delta import files_of_table, scan_table
from tasks.source.files import SourceFile, is_delta, source_files
from tasks.source.stores import cause_at_store
from tasks.source.text import UTF_16, separator
from tasks.source.untrusted import check_parquet

FILE, ROW = "file", "row"
WHERE = pl.format("row {} of {}", ROW, pl.col(FILE).str.extract("((?:[^/]*=[^/]*/)*[^/]*)$"))
"""Where a row stands in the source: its number in its file, whose folders are named where they hold a column."""
_REFUSALS = (
    csv.Error,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
    MemoryError,
    DeltaError,
)


@dataclass(frozen=True)
class Part:
    """Files that store the used columns alike.

    Attributes
    ----------
    origin
        A name for messages: the first file.
    scanned
        The used columns as stored (those that stand in folders' names as text), ``file`` and ``row`` (from 1) of each
        row: its place in the source.
    schema
        The used columns' types.
    """

    origin: str
    scanned: pl.LazyFrame
    schema: pl.Schema


def read_parts(path: str, wanted: Mapping[str, str], version: int | None = None) -> list[Part]:
    """The parts of a source in order. ``wanted`` says of each used column which key names it; ``version`` which of a
    Delta table's is read.

    Raises ``SourceError`` for what cannot be read, or lacks a column.
    """
    try:
        if is_delta(path):
            return [_delta_part(path, wanted, version)]
        if version is not None:
            raise SourceError(f"source.version: found {version} for {path!r}, which is no Delta table; expected one.")
        files = source_files(path)
        check_parquet([file.path for file in files if not file.is_text], list(wanted))
        stored = [(file, *_stored(file, wanted)) for file in files]
    except _REFUSALS as error:
        raise unreadable(path, error) from None
    require_columns([(file.path, schema) for file, schema, _ in stored], wanted)
    alike = groupby(stored, key=lambda entry: (entry[0].is_text and entry[0].path, _used(entry[1], wanted), entry[2]))
    try:
        return [_part([file for file, *_ in run], schema, mark) for (_, schema, mark), run in alike]
    except _REFUSALS as error:
        raise unreadable(path, error) from None


def check_there(path: str) -> None:
    """Raises ``SourceError`` where no source is on this machine, or none that could be read; no file is opened."""
    try:
        if "://" not in path and not is_delta(path):
            source_files(path)
    except _REFUSALS as error:
        raise unreadable(path, error) from None


def stored_columns(path: str) -> pl.Schema:
    """The columns that every file of a source has, as the first file stores them; raises as :func:`read_parts`."""
    try:
        if is_delta(path):
            return pl.Schema(scan_table(DeltaTable(path)).collect_schema())
        files = source_files(path)
        check_parquet([file.path for file in files if not file.is_text], [])
        first, *others = [_stored(file, {})[0] for file in files]
    except _REFUSALS as error:
        raise unreadable(path, error) from None
    return pl.Schema({name: dtype for name, dtype in first.items() if all(name in schema for schema in others)})


_SAVE = "save it as such; what is Latin-1, `iconv -f latin1 -t utf-8` makes UTF-8"


def unreadable(path: str, error: BaseException) -> SourceError:
    """What is wrong with a source that cannot be read, as one sentence."""
    said = str(error).strip()
    if (cause := cause_at_store(error)) is not None:
        return SourceError(f"source.path: {path!r} cannot be reached: {cause}.")
    if isinstance(error, FileNotFoundError) or "expanded paths were empty" in said:
        found = f"the folder {path!r} holds none" if Path(path).is_dir() else f"found nothing at {path!r}"
        return SourceError(f"source.path: {found}; expected Parquet or CSV files, or a Delta table, there.")
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start : error.start + 1]
        meant = f", {byte.decode('cp1252', 'replace')!r} in Latin-1" if byte >= b"\xa0" else ""
        said = UTF_16 if b"\0" in error.object else f"it is no UTF-8 (byte {byte[0]:#x}{meant}): {_SAVE}"
    elif "invalid utf-8" in said:
        said = f"it is no UTF-8: {_SAVE}"
    elif "found more fields" in said:
        said = "a row has more cells than its header has names"
    cause = said.splitlines()[0].split(" (set POLARS")[0].rstrip(".:") if said else "no reason"
    return SourceError(
        f"source.path: {path!r} cannot be read: {cause}; expected unencrypted Parquet, CSV in UTF-8 (a name that "
        "ends in .csv, .tsv or .txt, or these with .gz), or a Delta table."
    )


def _used(schema: pl.Schema, wanted: Mapping[str, str]) -> pl.Schema:
    return pl.Schema({name: schema[name] for name in wanted if name in schema})


def _delta_part(path: str, wanted: Mapping[str, str], version: int | None) -> Part:
    table = _at_version(DeltaTable(path), version)
    check_parquet([str(file) for file in files_of_table(table)], list(wanted))
    scanned = scan_table(table)
    schema = scanned.collect_schema()
    require_columns([(path, schema)], wanted)
    placed = scanned.select(*wanted).with_row_index(ROW, offset=1).with_columns(pl.lit(path).alias(FILE))
    return Part(path, placed, _used(schema, wanted))


def _at_version(table: DeltaTable, version: int | None) -> DeltaTable:
    if version is not None and version > table.version():
        raise SourceError(
            f"source.version: found {version}; expected one of the table's versions, of which the newest is "
            f"{table.version()}."
        )
    if version is not None:
        table.load_as_version(version)
    return table


def _stored(file: SourceFile, wanted: Mapping[str, str]) -> tuple[pl.Schema, str]:
    """The types of a file's columns, and what separates its cells if it is text."""
    mark = separator(file.path, list(wanted)) if file.is_text else ""
    try:
        if file.is_text:
            schema = pl.scan_csv(file.path, infer_schema=False, separator=mark, glob=False).collect_schema()
        elif "://" in file.path:
            schema = pl.scan_parquet(file.path, hive_partitioning=False).collect_schema()
        else:
            schema = pl.Schema(pl.read_parquet_schema(file.path))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{file.path}: {str(error).strip()}" if file.path not in str(error) else str(error)) from None
    for name in set(file.partition) & set(schema) & set(wanted):
        _require_one_value(file, name, mark)
    return pl.Schema({**schema, **dict.fromkeys(file.partition, pl.String())}), mark


def _require_one_value(file: SourceFile, name: str, mark: str) -> None:
    """A column that stands in the folder's name and in the file must say the same in both."""
    said = file.partition[name]
    if file.is_text:
        scanned = pl.scan_csv(file.path, infer_schema=False, separator=mark, glob=False)
    else:
        scanned = pl.scan_parquet(file.path, hive_partitioning=False, glob=False)
    held = scanned.select(pl.col(name).unique()).collect()[name]
    number = int(said) if said is not None and held.dtype.is_integer() and said.lstrip("-").isdecimal() else said
    for value in held.to_list() if held.dtype.is_integer() else held.cast(pl.String).to_list():
        if value != number:
            raise ValueError(
                f"{file.path}: {name!r} is {said!r} in the folder's name and {value!r} in the file; expected the same"
            )


def _part(files: Sequence[SourceFile], schema: pl.Schema, mark: str) -> Part:
    inside = [name for name in schema if name not in files[0].partition]
    first = files[0].path
    if files[0].is_text:
        scanned = pl.scan_csv(
            first, infer_schema=False, separator=mark, glob=False, row_index_name=ROW, row_index_offset=1
        )
        blank = pl.all_horizontal(pl.col(inside).is_null())  # an empty line is no row
        scanned = scanned.select(*inside, ROW).filter(~blank).with_columns(pl.lit(first).alias(FILE))
    else:
        scanned = pl.scan_parquet(
            [file.path for file in files],
            schema={name: schema[name] for name in inside},
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
            row_index_name=ROW,
            row_index_offset=1,
            include_file_paths=FILE,
        )
        if len(files) > 1:
            scanned = scanned.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over(FILE).alias(ROW))
    held = [name for name in schema if name in files[0].partition]
    if held:
        names = {name: [file.partition[name] for file in files] for name in held}
        of_folders = pl.LazyFrame(
            {FILE: [file.path for file in files], **names}, schema_overrides=dict.fromkeys(held, pl.String)
        )
        scanned = scanned.join(of_folders, on=FILE, how="left", maintain_order="left")
    return Part(first, scanned.select(*schema, ROW, FILE), schema)


def require_columns(stored: Sequence[tuple[str, pl.Schema]], wanted: Mapping[str, str]) -> None:
    """Raises ``SourceError`` unless every used column is in every place where rows are stored."""
    for column, key in wanted.items():
        having = [place for place, schema in stored if column in schema]
        lacking = [(place, schema) for place, schema in stored if column not in schema]
        if not lacking:
            continue
        where, schema = lacking[0]
        if having:
            raise SourceError(
                f"{key}: column {column!r} is in {having[0]!r} and not in {where!r}; expected it in every file."
            )
        close, all_of_them = closest(column, schema), ", ".join(map(repr, list(schema)[:12]))
        hint = f"expected one of {all_of_them}." if close is None else f"did you mean {close!r}?"
        raise SourceError(f"{key}: found no column {column!r} in the source; {hint}")


def short_name(file: str) -> str:
    """A file's own name."""
    return PurePosixPath(file).name
