"""Delta tables as they are read: one that this program did not write, or that is damaged, is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.schema import ArrayType, PrimitiveType

from tasks.config.columns import Kind
from tasks.config.errors import OutputError
from tasks.source.delta import files_of_table, place_of_table, scan_table
from tasks.source.stores import cause_at_store
from tasks.tables.places import is_local

DTYPES: dict[Kind, pl.DataType] = {
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "double": pl.Float64(),
    "doubles": pl.List(pl.Float64()),
    "int16s": pl.List(pl.Int16()),
    "bool": pl.Boolean(),
}
_DELTA_TYPES: dict[Kind, str] = {
    "string": "string",
    "timestamp": "timestamp",
    "int16": "short",
    "int32": "integer",
    "double": "double",
    "doubles": "array of double",
    "int16s": "array of short",
    "bool": "boolean",
}


def open_table(location: str, columns: Mapping[str, Kind]) -> DeltaTable | None:
    """The table, or ``None`` where nothing is; anything else that lies there is refused."""
    if is_local(location) and Path(location).is_file():
        raise OutputError(f"output.states: found a file at {location!r}; expected a state table or an empty place.")
    try:
        if not DeltaTable.is_deltatable(location):
            _refuse_foreign(location)
            return None
        table = DeltaTable(location)
        found = {field.name: _type_name(field.type) for field in table.schema().fields}
    except (DeltaError, OSError, ValueError) as error:
        if (cause := cause_at_store(error)) is not None:
            raise _unreachable(location, cause) from None
        raise OutputError(
            f"output.states: the table at {location!r} cannot be read: {first_line(error)}; "
            "expected a Delta table: choose another folder, or restore it."
        ) from None
    if missing := [name for name in columns if name not in found]:
        raise OutputError(
            f"output.states: the Delta table at {location!r} lacks the columns {', '.join(missing[:6])}; "
            "expected a table that this program wrote: choose another folder."
        )
    if other := [f"{name} as {found[name]}" for name, kind in columns.items() if found[name] != _DELTA_TYPES[kind]]:
        raise OutputError(
            f"output.states: the Delta table at {location!r} holds {', '.join(other[:6])}; "
            "expected a table that this program wrote: choose another folder."
        )
    return table


def scanned(table: DeltaTable) -> pl.LazyFrame:
    """The table's rows, if the files that its log counts are there as they were written."""
    for file, n_bytes in files_of_table(table).items():
        found = file.stat().st_size if file.is_file() else None
        if found != n_bytes:
            what = "is gone" if found is None else f"has {found} bytes of {n_bytes}"
            raise _damaged(table, f"{file.name} {what}")
    return scan_table(table)


def collected(query: pl.LazyFrame, table: DeltaTable) -> pl.DataFrame:
    """What a query of the table's rows finds; raises ``OutputError`` where a file of it cannot be read."""
    try:
        return query.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        if (cause := cause_at_store(error)) is not None:
            raise _unreachable(place_of_table(table), cause) from None
        raise _damaged(table, first_line(error)) from None


def rows_of(table: DeltaTable | None, columns: Mapping[str, Kind], model_name: str) -> pl.DataFrame:
    """A model's rows in a table as it stands; none where there is no table."""
    if table is None:
        return pl.DataFrame(schema={name: DTYPES[kind] for name, kind in columns.items()})
    return collected(scanned(table).filter(pl.col("model_name") == model_name).select(*columns), table)


def rows_at(location: str, columns: Mapping[str, Kind], model_name: str) -> pl.DataFrame:
    """A model's rows in the table that is there now, if any."""
    return rows_of(open_table(location, columns), columns, model_name)


def history(table: DeltaTable) -> list[dict[str, Any]]:
    """The table's commits, newest first; raises ``OutputError`` where its log cannot be read."""
    try:
        return table.history()
    except (DeltaError, OSError, ValueError) as error:
        raise OutputError(
            f"output.states: the log of the table at {place_of_table(table)!r} cannot be read: {first_line(error)}; "
            "restore it from a copy, or publish into another `output.states`."
        ) from None


def first_line(error: BaseException) -> str:
    """What an error says first, or a store means by it, as the end of a sentence."""
    if (cause := cause_at_store(error)) is not None:
        return cause
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _type_name(held: Any) -> str:
    if isinstance(held, ArrayType):
        return f"array of {_type_name(held.element_type)}"
    return str(held.type) if isinstance(held, PrimitiveType) else type(held).__name__


def _refuse_foreign(location: str) -> None:
    if is_local(location) and Path(location).is_dir() and any(Path(location).iterdir()):
        raise OutputError(
            f"output.states: found files that are no Delta table at {location!r}; "
            "expected a state table or an empty place."
        )


def _unreachable(location: str, cause: str) -> OutputError:
    return OutputError(f"output.states: {location!r} cannot be reached: {cause}.")


def _damaged(table: DeltaTable, found: str) -> OutputError:
    return OutputError(
        f"output.states: a data file of the table at {place_of_table(table)!r} is damaged: {found}; expected "
        "every file that its log names: restore them from a copy, or publish into another `output.states`."
    )
