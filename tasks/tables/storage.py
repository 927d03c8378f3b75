"""The only module that reads and writes tables: Delta Lake, one transaction a write, the run key in its commit."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import ArrayType, PrimitiveType

from tasks.config.columns import (
    ALERT_COLUMNS,
    DRIFT_COLUMNS,
    NAME_COLUMNS,
    QUARANTINE_COLUMNS,
    RUN_COLUMNS,
    STATE_COLUMNS,
    WITHOUT_VALUE,
    Kind,
)
from tasks.config.errors import OutputError, PublishError
from tasks.config.outcome import RunSummary, TidiedTable
from tasks.config.whole import appearing
from tasks.source.delta import files_of_table, place_of_table, scan_table

_DTYPES: dict[Kind, pl.DataType] = {
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "double": pl.Float64(),
    "doubles": pl.List(pl.Float64()),
    "bool": pl.Boolean(),
}
_DELTA_TYPES: dict[Kind, str] = {
    "string": "string",
    "timestamp": "timestamp",
    "int16": "short",
    "int32": "integer",
    "double": "double",
    "doubles": "array of double",
    "bool": "boolean",
}
_RUN_KEY, _SUMMARY = "run_key", "summary"
_ATTEMPTS = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEEP_LOG = {"delta.logRetentionDuration": "interval 36500 days", "delta.enableExpiredLogCleanup": "false"}


def quarantine_table(states: str) -> str:
    """The table of series set aside, beside the state table."""
    return f"{states.rstrip('/')}_quarantine"


def names_table(states: str) -> str:
    """The table of the states' names, beside the state table."""
    return f"{states.rstrip('/')}_names"


def runs_table(states: str) -> str:
    """The table of what became of each run, beside the state table."""
    return f"{states.rstrip('/')}_runs"


def alerts_table(states: str) -> str:
    """The table of alerts, beside the state table."""
    return f"{states.rstrip('/')}_alerts"


def drift_table(states: str) -> str:
    """The table of inputs that were no longer what they had been, beside the state table."""
    return f"{states.rstrip('/')}_drift"


def fits_folder(states: str, model_name: str) -> Path:
    """Where finished fits are kept: beside the state table, or under ``out`` if that is not on this machine."""
    base = states.rstrip("/") if is_local(states) else f"out/{model_name}"
    return Path(f"{base}_fits")


def is_local(location: str) -> bool:
    """Whether a table lies in this machine's file system."""
    return "://" not in location


def check_output(states: str) -> None:
    """Raises ``OutputError`` unless a state table is there, or can be made there. Writes nothing."""
    for location, columns in (
        (states, STATE_COLUMNS),
        (quarantine_table(states), QUARANTINE_COLUMNS),
        (names_table(states), NAME_COLUMNS),
        (runs_table(states), RUN_COLUMNS),
        (alerts_table(states), ALERT_COLUMNS),
        (drift_table(states), DRIFT_COLUMNS),
    ):
        _open(location, columns)
        if is_local(location):
            _check_writable(Path(location))


def published_summary(states: str, key: str) -> RunSummary | None:
    """What the run of this key said when it was done; ``None`` if it was not, empty if its words are gone."""
    for location, columns in ((states, STATE_COLUMNS), (runs_table(states), RUN_COLUMNS)):
        table = _open(location, columns)
        if table is not None and table.transaction_version(key) is not None:
            commits = (commit for commit in _history(table) if commit.get(_RUN_KEY) == key)
            said: RunSummary = next(
                (json.loads(commit[_SUMMARY]) for commit in commits if _SUMMARY in commit), RunSummary()
            )
            return said
    return None


def append_run(states: str, model_name: str, as_of: datetime, key: str, status: str, detail: str = "") -> None:
    """Note that a run has begun or failed; a run that is done says so by its publish, or by :func:`close_run`."""
    row = {"model_name": model_name, "as_of": as_of, "run_key": key, "status": status, "detail": detail}
    _append(runs_table(states), RUN_COLUMNS, None, lambda _: pl.DataFrame([row]))


def close_run(states: str, model_name: str, as_of: datetime, key: str, summary: RunSummary) -> None:
    """Note that a run is done that had nothing new to publish, so that it is not made again."""
    row = {"model_name": model_name, "as_of": as_of, "run_key": key, "status": "DONE", "detail": "nothing new"}
    said = {_SUMMARY: json.dumps(summary)}
    _append(runs_table(states), RUN_COLUMNS, key, lambda _: pl.DataFrame([row]), lambda _: said)


def read_runs(states: str, model_name: str) -> pl.DataFrame:
    """What is known of each ``as_of``: its last status (RUNNING, FAILED, DONE), detail and run key, oldest first.

    A publish in the table's own log counts more than any note.
    """
    notes = _rows_beside(runs_table(states), RUN_COLUMNS, model_name).with_columns(order=pl.lit(0))
    said = [summary for summary in summaries(states) if summary.get("model_name") == model_name]
    done = pl.DataFrame(
        [
            {
                "model_name": model_name,
                "as_of": datetime.fromisoformat(summary["as_of"]),
                "run_key": summary["run_key"],
                "status": "DONE",
                "detail": f"{summary['n_published']} rows",
            }
            for summary in said
        ],
        schema={name: _DTYPES[kind] for name, kind in RUN_COLUMNS.items()},
    ).with_columns(order=pl.lit(1))
    rank = pl.col("status").replace_strict({"RUNNING": 0, "FAILED": 1, "DONE": 2})
    return (
        pl.concat([notes, done])
        .sort("as_of", rank, "order", maintain_order=True)
        .unique("as_of", keep="last", maintain_order=True)
        .select(*RUN_COLUMNS)
    )


def unpublished(states: str, rows: pl.DataFrame, model_name: str, lineage: str | None = None) -> pl.DataFrame:
    """The rows that the table lacks for this lineage of the model, and those it only knows as missing from before."""
    table = _open(states, STATE_COLUMNS)
    return rows if table is None else _lacking(table, rows, model_name, lineage)


def published_after(states: str, model_name: str, newest: datetime, moment: datetime) -> tuple[int, datetime | None]:
    """How many rows up to the ``newest`` were published as of later than a moment, and the first such ``as_of``."""
    table = _open(states, STATE_COLUMNS)
    if table is None:
        return 0, None
    of_model = _scanned(table).filter(pl.col("model_name") == model_name)
    later = of_model.filter(pl.col("time") <= newest, pl.col("as_of") > moment)
    n_rows, since = _collected(later.select(pl.len(), pl.col("as_of").min()), table).row(0)
    return n_rows, since


def published_times(states: str, model_name: str, lineage: str) -> pl.DataFrame:
    """``series_id`` and ``time`` of this lineage's rows that have values."""
    table = _open(states, STATE_COLUMNS)
    if table is None:
        return pl.DataFrame(schema={"series_id": pl.String, "time": _DTYPES["timestamp"]})
    known = _scanned(table).filter(pl.col("model_name") == model_name, _is_of(table, model_name, lineage))
    valued = known.filter(~pl.col("status").is_in(WITHOUT_VALUE))
    return _collected(valued.select("series_id", "time").unique(), table)


def require_out_of_sample(states: str, model_name: str) -> None:
    """Raises ``OutputError`` if the table has rows of this model that the parameters behind them have seen."""
    table = _open(states, STATE_COLUMNS)
    if table is None:
        return
    seen = _scanned(table).filter(pl.col("model_name") == model_name, pl.col("in_sample"))
    if n_seen := _collected(seen.select(pl.len()), table).item():
        raise OutputError(
            f"output.states: found {n_seen} rows of {model_name!r} in {states!r} that their models were fitted on, as "
            "nights publish them; expected a table of out-of-sample rows alone: choose one, such as "
            f"--set output.states={states.rstrip('/')}_walk_forward."
        )


def publish_states(states: str, rows: pl.DataFrame, model_name: str, key: str, summary: RunSummary) -> int:
    """Add the rows that the table lacks for this model, in one commit; how many they are.

    Of several runs that publish at once, each sees what those before it wrote: no row is written twice.
    """
    return _append(
        states,
        STATE_COLUMNS,
        key,
        lambda table: rows if table is None else _lacking(table, rows, model_name, summary.get("lineage")),
        lambda added: {_SUMMARY: json.dumps({**summary, "n_published": len(added)})},
    )


def append_quarantine(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note the series set aside by this run, each set of them once; the table is there even if none was."""
    told = hashlib.sha256(rows.select("series_id", "reason", "detail").write_csv().encode()).hexdigest()
    _append(quarantine_table(states), QUARANTINE_COLUMNS, f"{key} {told[:16]}", lambda _: rows, may_be_empty=True)


def append_drift(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note what this run found of the inputs, once."""
    _append(drift_table(states), DRIFT_COLUMNS, key, lambda _: rows)


def append_names(states: str, names: Mapping[int, str], model_name: str, born: datetime, key: str) -> None:
    """Note states that have no name yet."""

    def nameless(table: DeltaTable | None) -> pl.DataFrame:
        known = {} if table is None else _names(table, model_name)
        new = [(state, name) for state, name in names.items() if state not in known]
        rows = pl.DataFrame(new, schema={"state": pl.Int16, "name": pl.String}, orient="row")
        return rows.with_columns(born=pl.lit(born), died=None, model_name=pl.lit(model_name))

    _append(names_table(states), NAME_COLUMNS, key, nameless)


def rewrite_names(
    states: str,
    model_name: str,
    names: Mapping[int, str] = MappingProxyType({}),
    died: Mapping[int, datetime | None] = {},
) -> None:
    """Give states new names, or note when they died (None: they live).

    Raises ``OutputError`` for a state that there is not.
    """
    if not names and not died:
        return
    known = read_names(states, model_name)
    if unknown := sorted({*names, *died} - known.keys()):
        there = ", ".join(map(str, sorted(known))) or "none: run the configuration first"
        raise OutputError(f"found no state {unknown[0]} of {model_name!r}; expected one of {there}.")

    def renamed(table: DeltaTable | None) -> pl.DataFrame:
        assert table is not None
        name = pl.col("state").replace_strict(dict(names), default=pl.col("name"), return_dtype=pl.String)
        end = pl.col("state").replace_strict(dict(died), default=pl.col("died"), return_dtype=_DTYPES["timestamp"])
        rows = _collected(_scanned(table).filter(pl.col("model_name") == model_name), table)
        return rows.with_columns(name.alias("name"), end.alias("died"))

    _append(names_table(states), NAME_COLUMNS, None, renamed, replaces=f"model_name = '{model_name}'")


def read_names(states: str, model_name: str) -> dict[int, str]:
    """State id to name, as far as the states of this model have one."""
    table = _open(names_table(states), NAME_COLUMNS)
    return {} if table is None else _names(table, model_name)


def read_states(states: str, model_name: str, series: str | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """A model's rows as they were known at ``as_of`` (by default now), each at its newest, by series and time.

    They are of one lineage: that of the newest publish by then.
    """
    table = _open(states, STATE_COLUMNS)
    if table is None:
        raise OutputError(f"output.states: found no state table at {states!r}; expected one: run `hsmm run` first.")
    query = _scanned(table).filter(pl.col("model_name") == model_name, _is_in_force(table, model_name, as_of))
    if series is not None:
        query = query.filter(pl.col("series_id") == series)
    if as_of is not None:
        query = query.filter(pl.col("as_of") <= as_of)
    newest = query.sort("series_id", "time", "as_of").unique(["series_id", "time"], keep="last", maintain_order=True)
    return _collected(newest, table)


def read_publishes(states: str, model_name: str) -> pl.DataFrame:
    """This model's publishes, oldest first: ``order`` (the version of the table that each made), ``run_key``,
    ``as_of``, ``lineage``, ``occasion``, the ``gate``'s verdict (null where nothing was judged) and its ``reasons``.
    """
    table = _open(states, STATE_COLUMNS)
    told = [] if table is None else [(c["version"], json.loads(c[_SUMMARY])) for c in table.history() if _SUMMARY in c]
    return pl.DataFrame(
        [
            {
                "order": version,
                "run_key": said["run_key"],
                "as_of": datetime.fromisoformat(said["as_of"]),
                "lineage": said.get("lineage"),
                "occasion": said.get("occasion", "night"),
                "gate": said.get("gate", {}).get("verdict"),
                "reasons": json.dumps(said.get("gate", {}).get("reasons", [])),
                "model_version": said.get("model_version"),
            }
            for version, said in reversed(told)
            if said.get("model_name") == model_name
        ],
        schema={
            "order": pl.Int64(),
            "run_key": pl.String(),
            "as_of": _DTYPES["timestamp"],
            "lineage": pl.String(),
            "occasion": pl.String(),
            "gate": pl.String(),
            "reasons": pl.String(),
            "model_version": pl.Int32(),
        },
    )


def read_as_published(states: str, model_name: str, publishes: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """The rows of these publishes, by series, and within it as they became known: by ``order``, then by time."""
    table = _open(states, STATE_COLUMNS)
    if table is None:
        raise OutputError(f"output.states: found no state table at {states!r}; expected one: run `hsmm run` first.")
    own = _scanned(table).filter(pl.col("model_name") == model_name).select(*columns, "run_key")
    known = publishes.lazy().select("run_key", "order", "occasion")
    return _collected(own.join(known, on="run_key").sort("series_id", "order", "time"), table)


def read_alerts(states: str, model_name: str) -> pl.DataFrame:
    """Every alert of this model, oldest first; empty where there was none."""
    table = _open(alerts_table(states), ALERT_COLUMNS)
    if table is None:
        return pl.DataFrame(schema={name: _DTYPES[kind] for name, kind in ALERT_COLUMNS.items()})
    return _alerts(table, model_name)


def read_drift(states: str, model_name: str) -> pl.DataFrame:
    """What runs of this model found of their inputs; empty where nothing was."""
    return _rows_beside(drift_table(states), DRIFT_COLUMNS, model_name)


@dataclass(frozen=True)
class JudgedUntil:
    """Up to which version of the state table, and which night, alerts were judged."""

    version: int
    night: datetime


def judged_until(states: str, model_name: str) -> JudgedUntil | None:
    """Up to where alerts of this model were judged; ``None`` if they never were."""
    table = _open(alerts_table(states), ALERT_COLUMNS)
    if table is None or (version := table.transaction_version(f"judged {model_name}")) is None:
        return None
    moment = table.transaction_version(f"judged nights {model_name}") or 0
    return JudgedUntil(version, _EPOCH + timedelta(microseconds=moment))


def change_alerts(
    states: str,
    model_name: str,
    changed: Callable[[pl.DataFrame], pl.DataFrame],
    judged: JudgedUntil | None = None,
) -> None:
    """Let this model's alerts become what ``changed`` makes of them as they stand, in one commit that notes up to where
    they were ``judged``.
    """

    def wanted(table: DeltaTable | None) -> pl.DataFrame:
        return changed(read_alerts(states, model_name) if table is None else _alerts(table, model_name))

    notes = []
    if judged is not None:
        moment = (judged.night - _EPOCH) // timedelta(microseconds=1)
        notes = [
            Transaction(f"judged {model_name}", judged.version),
            Transaction(f"judged nights {model_name}", moment),
        ]
    own = f"model_name = '{model_name}'"
    _append(alerts_table(states), ALERT_COLUMNS, None, wanted, replaces=own, notes=notes)


def _alerts(table: DeltaTable, model_name: str) -> pl.DataFrame:
    known = _scanned(table).filter(pl.col("model_name") == model_name).select(*ALERT_COLUMNS)
    return _collected(known.sort("as_of", "time", "alert_id"), table)


def tidy_table(location: str, keep_days: int) -> TidiedTable | None:
    """Compact a table, and remove files that no version of the last ``keep_days`` needs, those of lost commits too.

    How many files were merged and removed; ``None`` where no table is. Rows, and what the log knows, stay as they are.
    """
    table = _open(location, {})
    if table is None:
        return None
    try:
        merged = table.optimize.compact()
        removed = table.vacuum(retention_hours=24 * keep_days, dry_run=False, full=True)
    except (DeltaError, OSError) as error:
        raise PublishError(f"output.states: {location!r} cannot be compacted: {_first_line(error)}.") from error
    return {"n_merged": int(merged["numFilesRemoved"]), "n_removed": len(removed)}


def export_rows(rows: pl.DataFrame, path: Path) -> None:
    """Write rows as one plain file, CSV if its name says so and else Parquet, whole or not at all."""
    try:
        with appearing(path) as made:
            if path.suffix.lower() == ".csv":
                rows.write_csv(made)
            else:
                rows.write_parquet(made, compression="zstd")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OutputError(f"--export: {str(path)!r} cannot be written: {_first_line(error)}.") from error


def _open(location: str, columns: Mapping[str, Kind]) -> DeltaTable | None:
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
        raise OutputError(
            f"output.states: the table at {location!r} cannot be read: {_first_line(error)}; "
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


def _type_name(held: Any) -> str:
    if isinstance(held, ArrayType):
        return f"array of {_type_name(held.element_type)}"
    return str(held.type) if isinstance(held, PrimitiveType) else type(held).__name__


def _scanned(table: DeltaTable) -> pl.LazyFrame:
    """The table's rows, if the files that its log counts are there as they were written."""
    for file, n_bytes in files_of_table(table).items():
        found = file.stat().st_size if file.is_file() else None
        if found != n_bytes:
            what = "is gone" if found is None else f"has {found} bytes of {n_bytes}"
            raise _damaged(table, f"{file.name} {what}")
    return scan_table(table)


def _collected(query: pl.LazyFrame, table: DeltaTable) -> pl.DataFrame:
    try:
        return query.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _damaged(table, _first_line(error)) from None


def _damaged(table: DeltaTable, found: str) -> OutputError:
    return OutputError(
        f"output.states: a data file of the table at {place_of_table(table)!r} is damaged: {found}; expected "
        "every file that its log names: restore them from a copy, or publish into another `output.states`."
    )


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


def _names(table: DeltaTable, model_name: str) -> dict[int, str]:
    names = _scanned(table).filter(pl.col("model_name") == model_name).select("state", "name")
    return dict(_collected(names, table).iter_rows())


def _lacking(table: DeltaTable, rows: pl.DataFrame, model_name: str, lineage: str | None) -> pl.DataFrame:
    valued = (~pl.col("status").is_in(WITHOUT_VALUE)).any()
    seen = _collected(
        _scanned(table)
        .filter(pl.col("model_name") == model_name, _is_of(table, model_name, lineage))
        .group_by("series_id", "time")
        .agg(valued.alias("valued"), pl.col("as_of").max().alias("seen_at")),
        table,
    )
    arrived_late = ~pl.col("valued") & ~pl.col("status").is_in(WITHOUT_VALUE) & (pl.col("seen_at") < pl.col("as_of"))
    return (
        rows.join(seen, on=["series_id", "time"], how="left", maintain_order="left")
        .filter(pl.col("valued").is_null() | arrived_late)
        .drop("valued", "seen_at")
    )


def _is_of(table: DeltaTable, model_name: str, lineage: str | None) -> pl.Expr:
    """Whether a row is not known to be of another lineage."""
    if lineage is None:
        return pl.lit(value=True)
    said = [summary for summary in _said(table) if summary.get("model_name") == model_name]
    others = [str(summary["run_key"]) for summary in said if summary.get("lineage", lineage) != lineage]
    return ~pl.col("run_key").is_in(pl.Series(others, dtype=pl.String).implode())


def _is_in_force(table: DeltaTable, model_name: str, as_of: datetime | None) -> pl.Expr:
    """Whether a row is of the lineage that was published last, as of a moment."""
    for said in _said(table):
        if said.get("model_name") != model_name or "lineage" not in said:
            continue
        if as_of is None or datetime.fromisoformat(said["as_of"]) <= as_of:
            return _is_of(table, model_name, said["lineage"])
    return pl.lit(value=True)


def _append(
    location: str,
    columns: Mapping[str, Kind],
    key: str | None,
    wanted: Callable[[DeltaTable | None], pl.DataFrame],
    described: Callable[[pl.DataFrame], Mapping[str, str]] = lambda _: {},
    replaces: str | None = None,
    *,
    may_be_empty: bool = False,
    notes: Sequence[Transaction] = (),
) -> int:
    """Commit what is ``wanted`` of the table as it stands, under the key, at most once; how many rows that was.

    A commit only succeeds on the version that was looked at: where another came first, look again. The rows are
    added, or take the place of those that ``replaces`` describes.
    """
    for _ in range(_ATTEMPTS):
        table = _open(location, columns)
        if key is not None and table is not None and table.transaction_version(key) is not None:
            return 0
        rows = wanted(table)
        if rows.is_empty() and not notes and (table is not None or not may_be_empty):
            return 0
        typed = rows.select(pl.col(name).cast(_DTYPES[kind]) for name, kind in columns.items())
        commit = CommitProperties(
            custom_metadata={**({_RUN_KEY: key} if key else {}), **described(rows)},
            app_transactions=[*([Transaction(key, 1)] if key else []), *notes] or None,
            max_commit_retries=0,
        )
        try:
            if table is None:
                write_deltalake(location, typed, mode="error", configuration=_KEEP_LOG, commit_properties=commit)
            elif replaces is None or typed.is_empty():
                write_deltalake(table, typed, mode="append", commit_properties=commit)
            else:
                write_deltalake(table, typed, mode="overwrite", predicate=replaces, commit_properties=commit)
        except (DeltaError, OSError) as error:
            if isinstance(error, CommitFailedError) or _has_moved(location, columns, table):
                continue
            raise PublishError(
                f"output.states: writing {location!r} failed: {_first_line(error)}; nothing was published there."
            ) from error
        return len(rows)
    raise PublishError(
        f"output.states: {location!r} changed {_ATTEMPTS} times while this run tried to write; run it again later."
    )


def _has_moved(location: str, columns: Mapping[str, Kind], table: DeltaTable | None) -> bool:
    """Whether another writer came between."""
    now = _open(location, columns)
    return now is not None and (table is None or now.version() != table.version())


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def newest_summary(states: str, model_name: str) -> RunSummary | None:
    """What this model's newest publish said of itself; ``None`` if the table holds no such words."""
    said = (summary for summary in summaries(states) if summary.get("model_name") == model_name)
    return next(said, None)


def last_version(states: str, model_name: str) -> int:
    """The greatest version that a publish of this model was made with; 0 if there is none."""
    said = (summary for summary in summaries(states) if summary.get("model_name") == model_name)
    return max((summary.get("model_version") or 0 for summary in said), default=0)


def summaries(states: str) -> Iterator[RunSummary]:
    """What every publish said of itself, newest first."""
    table = _open(states, STATE_COLUMNS)
    yield from () if table is None else _said(table)


def _said(table: DeltaTable) -> Iterator[RunSummary]:
    for commit in _history(table):
        if _SUMMARY in commit:
            yield json.loads(commit[_SUMMARY])


def _history(table: DeltaTable) -> list[dict[str, Any]]:
    try:
        return table.history()
    except (DeltaError, OSError, ValueError) as error:
        raise OutputError(
            f"output.states: the log of the table at {place_of_table(table)!r} cannot be read: {_first_line(error)}; "
            "restore it from a copy, or publish into another `output.states`."
        ) from None


def read_quarantine(states: str, model_name: str) -> pl.DataFrame:
    """Every series that a run of this model set aside; empty where none was."""
    return _rows_beside(quarantine_table(states), QUARANTINE_COLUMNS, model_name)


def read_name_rows(states: str, model_name: str) -> pl.DataFrame:
    """The names of this model's states with when they were born and died; empty where none has one."""
    return _rows_beside(names_table(states), NAME_COLUMNS, model_name)


def _rows_beside(location: str, columns: Mapping[str, Kind], model_name: str) -> pl.DataFrame:
    table = _open(location, columns)
    if table is None:
        return pl.DataFrame(schema={name: _DTYPES[kind] for name, kind in columns.items()})
    return _collected(_scanned(table).filter(pl.col("model_name") == model_name).select(*columns), table)
