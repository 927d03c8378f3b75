"""Which files a source is: one, a glob, a folder whose names may hold columns (``symbol=A``), or a Delta table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

PARQUET = (".parquet", ".pq", ".parq")
TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_OTHERS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "JSON"),
    **dict.fromkeys((".feather", ".arrow", ".ipc"), "an Arrow file"),
}
LOG = "_delta_log"
_MOST_OTHERS = 50_000
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class SourceFile:
    """A file, and the columns that its folders' names hold, as text."""

    path: str
    partition: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether it is a table of separated values; without a known ending it is Parquet."""
        return self.path.lower().endswith((*TEXT, ".txt"))


def is_delta(path: str) -> bool:
    """Whether a folder is a Delta table: only its log says which of its files count."""
    if "://" not in path:
        return (Path(path) / LOG).is_dir()
    if has_magic(path) or path.lower().endswith((*PARQUET, *TEXT)):
        return False
    try:
        return DeltaTable.is_deltatable(path)
    except (DeltaError, OSError, ValueError):
        return False


def source_files(path: str) -> list[SourceFile]:
    """The files of a source in the order of their names; raises ``FileNotFoundError`` where there is none.

    Of what a folder or a glob holds, names that begin with ``_`` or ``.`` are passed over, as other readers do. Raises
    ``ValueError`` for files of a Delta table that are named one by one: some of them may be deleted.
    """
    if other := next((what for ending, what in _OTHERS.items() if path.lower().endswith(ending)), None):
        raise ValueError(f"it is {other}: save it as CSV or Parquet")
    root = _fixed_part(path)
    names = _remote_files(path) if "://" in path else _local_files(path, root)
    inner = [(name, PurePosixPath(name[len(root) :].lstrip("/"))) for name in names]
    shown = [(name, inside) for name, inside in inner if name == path or not any(map(_is_hidden, inside.parts))]
    if not shown:
        raise FileNotFoundError(path)
    if table := next((parent for name, _ in shown for parent in Path(name).parents if (parent / LOG).is_dir()), None):
        raise ValueError(f"its files belong to the Delta table {str(table)!r}: name that folder")
    _refuse_both_kinds(path, [name for name, _ in shown])
    return [SourceFile(name, dict(_partition(inside))) for name, inside in sorted(shown)]


def file_marks(path: str) -> dict[str, tuple[int, int] | None]:
    """Size and last change of each file of a source on this machine; of none of a Delta table: those never change."""
    return {} if "://" in path or is_delta(path) else {file.path: mark_of(file.path) for file in source_files(path)}


def mark_of(file: str) -> tuple[int, int] | None:
    """A file's size and when it changed last; None where it is gone."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _fixed_part(path: str) -> str:
    """The folder below which names are found, rather than given."""
    parts = path.split("/")
    if (wild := next((i for i, part in enumerate(parts) if has_magic(part)), None)) is not None:
        return "/".join(parts[:wild])
    return path.rstrip("/")


def _local_files(path: str, root: str) -> Iterable[str]:
    place = Path(path)
    if place.is_dir() and place.resolve() == Path(place.resolve().anchor):
        raise ValueError("it is the root of all files: name the folder that holds the source")
    if place.is_dir():
        return [f"{root}/{file.relative_to(place)}" for file in _files_within(place)]
    if place.exists() or not has_magic(path):
        return [path] if place.exists() else []
    from glob import glob

    return [name for name in glob(path, recursive=True) if Path(name).is_file()]


def _files_within(place: Path) -> Iterator[Path]:
    """The files of a folder that could be a source's; raises ``ValueError`` among far too many that could not."""
    n_others = 0
    for folder, inner, names in os.walk(place):
        inner[:] = [name for name in inner if not _is_hidden(name)]
        read = [name for name in names if name.lower().endswith((*PARQUET, *TEXT))]
        yield from (file for name in read if (file := Path(folder, name)).is_file())
        n_others += len(names) - len(read) + len(inner)
        if n_others > _MOST_OTHERS:
            raise ValueError(f"it holds more than {_MOST_OTHERS:,} folders and other files: name the source's own")


def _refuse_both_kinds(path: str, names: list[str]) -> None:
    """A folder that holds the same rows twice, or half of them in another form: which is meant is not guessed."""
    of_text = [name for name in names if name.lower().endswith(TEXT)]
    others = [name for name in names if name not in of_text]
    if of_text and others and not has_magic(path):
        raise ValueError(
            f"it holds {others[0]!r} and {of_text[0]!r}; expected Parquet or CSV files: name a glob such as "
            f"{path.rstrip('/')}/*{Path(others[0]).suffix}"
        )


def _remote_files(path: str) -> Iterable[str]:
    if path.lower().endswith(TEXT):
        return [path]
    named = pl.scan_parquet(path, schema={}, extra_columns="ignore", include_file_paths="file", hive_partitioning=False)
    return named.select(pl.col("file").unique()).collect()["file"]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _partition(inside: PurePosixPath) -> Iterator[tuple[str, str | None]]:
    for part in inside.parent.parts:
        key, equals, value = part.partition("=")
        if equals:
            yield unquote(key), None if value == _NULL else unquote(value)
