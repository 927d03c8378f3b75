"""A Delta table's rows, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl
from deltalake import DeltaTable

_LOCAL = "file://"


def place_of_table(table: DeltaTable) -> str:
    """Where a table is, as it was given: on this machine, a path."""
    uri = table.table_uri
    return unquote(uri.removeprefix(_LOCAL)).rstrip("/") if uri.startswith(_LOCAL) else uri


def files_of_table(table: DeltaTable) -> dict[Path, int]:
    """The files that the table's log counts, and how many bytes it says of each; none if it is on another machine."""
    place = place_of_table(table)
    if "://" in place:
        return {}
    said = pl.DataFrame(table.get_add_actions()).select("path", "size_bytes")
    return {Path(place, unquote(name)): n_bytes for name, n_bytes in said.iter_rows()}


def scan_table(table: DeltaTable) -> pl.LazyFrame:
    """The table's rows, read when they are asked for.

    Polars looks for the files of a place with blanks or letters beyond ASCII under its escaped name; there, pyarrow
    reads them.
    """
    place = place_of_table(table)
    if place == table.table_uri or quote(place) == place:
        return pl.scan_delta(table)
    return pl.scan_pyarrow_dataset(table.to_pyarrow_dataset())
