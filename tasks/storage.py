"""The only module that reads and writes tables: Delta Lake, one transaction a write, the run key in its commit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from tasks.columns import NAME_COLUMNS, QUARANTINE_COLUMNS, STATE_COLUMNS, Kind
from tasks.errors import OutputError, PublishError

_DTYPES: dict[Kind, pl.DataType] = {
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "double": pl.Float64(),
    "doubles": pl.List(pl.Float64()),
    "bool": pl.Boolean(),
}
_RUN_KEY, _SUMMARY = "run_key", "summary"


def quarantine_table(states: str) -> str:
    """The table of series set aside, beside the state table."""
    return f"{states.rstrip('/')}_quarantine"


def names_table(states: str) -> str:
    """The table of the states' names, beside the state table."""
    return f"{states.rstrip('/')}_names"


def is_local(location: str) -> bool:
    """Whether a table lies in this machine's file system."""
    return "://" not in location


def check_output(states: str) -> None:
    """Raises ``OutputError`` unless a state table is there, or can be made there. Writes nothing."""
    for location, columns in (
        (states, STATE_COLUMNS),
        (quarantine_table(states), QUARANTINE_COLUMNS),
        (names_table(states), NAME_COLUMNS),
    ):
        _open(location, columns)
        if is_local(location):
            _check_writable(Path(location))


def published_summary(states: str, key: str) -> dict[str, Any] | None:
    """What the run of this key said when it published; ``None`` if it did not, empty if its words are gone."""
    table = _open(states, STATE_COLUMNS)
    if table is None or table.transaction_version(key) is None:
        return None
    commits = (commit for commit in table.history() if commit.get(_RUN_KEY) == key)
    return next((json.loads(commit[_SUMMARY]) for commit in commits if _SUMMARY in commit), {})


def unpublished(states: str, rows: pl.DataFrame, model_name: str) -> pl.DataFrame:
    """The rows that the table lacks for this model, and those it only knows as missing from an earlier ``as_of``."""
    if _open(states, STATE_COLUMNS) is None:
        return rows
    valued = (pl.col("status") != "MISSING").any()
    seen = (
        pl.scan_delta(states)
        .filter(pl.col("model_name") == model_name)
        .group_by("series_id", "time")
        .agg(valued.alias("valued"), pl.col("as_of").max().alias("seen_at"))
        .collect()
    )
    arrived_late = ~pl.col("valued") & (pl.col("status") != "MISSING") & (pl.col("seen_at") < pl.col("as_of"))
    return (
        rows.join(seen, on=["series_id", "time"], how="left", maintain_order="left")
        .filter(pl.col("valued").is_null() | arrived_late)
        .drop("valued", "seen_at")
    )


def append_states(states: str, rows: pl.DataFrame, key: str, summary: Mapping[str, Any]) -> None:
    """One commit: all rows or none."""
    _append(states, rows, STATE_COLUMNS, key, {_SUMMARY: json.dumps(summary)})


def append_quarantine(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note the series set aside by this run, once."""
    if not rows.is_empty():
        _append(quarantine_table(states), rows, QUARANTINE_COLUMNS, key, {})


def append_names(states: str, names: Mapping[int, str], model_name: str, born: datetime, key: str) -> None:
    """Note states that have no name yet."""
    known = read_names(states, model_name)
    new = [(state, name) for state, name in names.items() if state not in known]
    if new:
        rows = pl.DataFrame(new, schema=["state", "name"], orient="row").with_columns(
            born=pl.lit(born), died=None, model_name=pl.lit(model_name)
        )
        _append(names_table(states), rows, NAME_COLUMNS, key, {})


def read_names(states: str, model_name: str) -> dict[int, str]:
    """State id to name, as far as the states of this model have one."""
    if _open(names_table(states), NAME_COLUMNS) is None:
        return {}
    names = pl.scan_delta(names_table(states)).filter(pl.col("model_name") == model_name).select("state", "name")
    return dict(names.collect().iter_rows())


def read_states(states: str, model_name: str, series: str | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """A model's rows as they were known at ``as_of`` (by default now), each at its newest, by series and time."""
    if _open(states, STATE_COLUMNS) is None:
        raise OutputError(f"output.states: found no state table at {states!r}; expected one: run `hsmm run` first.")
    query = pl.scan_delta(states).filter(pl.col("model_name") == model_name)
    if series is not None:
        query = query.filter(pl.col("series_id") == series)
    if as_of is not None:
        query = query.filter(pl.col("as_of") <= as_of)
    return (
        query.sort("series_id", "time", "as_of")
        .unique(["series_id", "time"], keep="last", maintain_order=True)
        .collect()
    )


def _open(location: str, columns: Mapping[str, Kind]) -> DeltaTable | None:
    """The table, or ``None`` where nothing is; anything else that lies there is refused."""
    if is_local(location) and Path(location).is_file():
        raise OutputError(f"output.states: found a file at {location!r}; expected a state table or an empty place.")
    try:
        if not DeltaTable.is_deltatable(location):
            _refuse_foreign(location)
            return None
        table = DeltaTable(location)
        found = {field.name for field in table.schema().fields}
    except (DeltaError, OSError, ValueError) as error:
        raise OutputError(
            f"output.states: the table at {location!r} cannot be read: {_first_line(error)}; "
            "expected a Delta table: choose another folder, or restore it."
        ) from None
    if missing := [name for name in columns if name not in found]:
        raise OutputError(
            f"output.states: the Delta table at {location!r} lacks the columns {', '.join(missing[:6])}; "
            "expected a table that this program wrote: choose another folder."
        )
    return table


def _refuse_foreign(location: str) -> None:
    if is_local(location) and Path(location).is_dir() and any(Path(location).iterdir()):
        raise OutputError(
            f"output.states: found files that are no Delta table at {location!r}; "
            "expected a state table or an empty place."
        )


def _check_writable(path: Path) -> None:
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"output.states: {str(path)!r} cannot be written ({error.strerror} at {str(existing)!r}); "
            "expected a folder that this user may write."
        ) from None


def _append(
    location: str, rows: pl.DataFrame, columns: Mapping[str, Kind], key: str, metadata: Mapping[str, str]
) -> None:
    table = _open(location, columns)
    if table is not None and table.transaction_version(key) is not None:
        return
    typed = rows.select(pl.col(name).cast(_DTYPES[kind]) for name, kind in columns.items())
    commit = CommitProperties(custom_metadata={_RUN_KEY: key, **metadata}, app_transactions=[Transaction(key, 1)])
    try:
        write_deltalake(location, typed, mode="append", commit_properties=commit)
    except (DeltaError, OSError) as error:
        raise PublishError(
            f"output.states: writing {location!r} failed: {_first_line(error)}; nothing was published there."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
