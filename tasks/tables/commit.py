"""Delta tables as they are written: one transaction a write, the run key in its commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from tasks.config.columns import Kind
from tasks.config.errors import PublishError
from tasks.config.outcome import TidiedTable
from tasks.tables.storage import DTYPES, first_line, open_table

RUN_KEY, SUMMARY = "run_key", "summary"
_ATTEMPTS = 50
_KEEP_LOG = {"delta.logRetentionDuration": "interval 36500 days", "delta.enableExpiredLogCleanup": "false"}


def commit_rows(
    location: str,
    columns: Mapping[str, Kind],
    key: str | None,
    wanted: Callable[[DeltaTable | None], pl.DataFrame],
    described: Callable[[pl.DataFrame], Mapping[str, str]] = lambda _: {},
    replaces: str | None = None,
    *,
    may_be_empty: bool = False,
    says: bool = False,
    notes: Sequence[Transaction] = (),
) -> int:
    """Commit what is ``wanted`` of the table as it stands, under the key, at most once; how many rows that was.

    A commit only succeeds on the version that was looked at: where another came first, look again. The rows are
    added, or take the place of those that ``replaces`` describes. Without rows there is a commit where it ``says``
    something, and the first of a table that ``may_be_empty``.
    """
    for _ in range(_ATTEMPTS):
        table = open_table(location, columns)
        if key is not None and table is not None and table.transaction_version(key) is not None:
            return 0
        rows = wanted(table)
        if rows.is_empty() and not notes and not says and (table is not None or not may_be_empty):
            return 0
        typed = rows.select(pl.col(name).cast(DTYPES[kind]) for name, kind in columns.items())
        commit = CommitProperties(
            custom_metadata={**({RUN_KEY: key} if key else {}), **described(rows)},
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
                f"output.states: writing {location!r} failed: {first_line(error)}; nothing was published there."
            ) from error
        return len(rows)
    raise PublishError(
        f"output.states: {location!r} changed {_ATTEMPTS} times while this run tried to write; run it again later."
    )


def _has_moved(location: str, columns: Mapping[str, Kind], table: DeltaTable | None) -> bool:
    """Whether another writer came between."""
    now = open_table(location, columns)
    return now is not None and (table is None or now.version() != table.version())


def tidy_table(location: str, keep_days: int) -> TidiedTable | None:
    """Compact a table, and remove files that no version of the last ``keep_days`` needs, those of lost commits too.

    How many files were merged and removed; ``None`` where no table is. Rows, and what the log knows, stay as they are.
    """
    table = open_table(location, {})
    if table is None:
        return None
    try:
        merged = table.optimize.compact()
        removed = table.vacuum(retention_hours=24 * keep_days, dry_run=False, full=True)
    except (DeltaError, OSError) as error:
        raise PublishError(f"output.states: {location!r} cannot be compacted: {first_line(error)}.") from error
    return {"n_merged": int(merged["numFilesRemoved"]), "n_removed": len(removed)}
