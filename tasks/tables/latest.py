"""The newest row of every series in a table of a PostgreSQL database, for dashboards: whole, and never an older one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.config.aftermath import afterwards
from tasks.config.columns import STATE_COLUMNS, Kind
from tasks.config.errors import OutputError
from tasks.config.settings import Settings
from tasks.source.postgres import connected, said_by_server, server_errors
from tasks.tables.publishes import newest_summary
from tasks.tables.show import known_rows

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

_KEY = ("model_name", "series_id")
_TYPES: Mapping[Kind, str] = {
    "string": "text",
    "timestamp": "timestamp with time zone",
    "int16": "smallint",
    "int32": "integer",
    "double": "double precision",
    "doubles": "double precision[]",
    "int16s": "smallint[]",
    "bool": "boolean",
}
_COLUMNS = {name: _TYPES[kind] for name, kind in STATE_COLUMNS.items()}
_INCOMING = "hsmm_incoming"
_HELD = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
"""


def check_latest(settings: Settings) -> None:
    """Raises ``OutputError`` before a model's first publish unless the database can be told of it.

    Later ones are not lost to a database that is away: :func:`tell_latest`.
    """
    if settings.output.latest is None or newest_summary(settings.output.states, settings.name) is not None:
        return
    with _transaction(settings) as (_, cursor):
        _make_table(cursor, settings.output.latest_table)


def tell_latest(settings: Settings, notes: list[str]) -> None:
    """Tell the database the newest row of every series; ``notes`` say where that fails."""
    if settings.output.latest is None or newest_summary(settings.output.states, settings.name) is None:
        return
    with afterwards("the database was not told the newest rows, the next run tells it", notes):
        _tell(settings)


def _tell(settings: Settings) -> None:
    """In one transaction, so that a reader sees the rows of before or those of now.

    Who writes reads the state table only when no other writes: what is written last was read last. A row that is there
    already and newer stays, as it does when a backfill fills another state table.
    """
    table = settings.output.latest_table
    with _transaction(settings) as (connection, cursor):
        _make_table(cursor, table)
        rows = known_rows(settings, series=None, as_of=None, head=None, latest=True).select(*_COLUMNS)
        cursor.execute(f"CREATE TEMPORARY TABLE {_INCOMING} ({_declared()}) ON COMMIT DROP")
        cursor.adbc_ingest(_INCOMING, rows.to_arrow(), mode="append", temporary=True)
        cursor.execute(
            f"DELETE FROM {table} WHERE model_name = $1 AND as_of <= (SELECT max(as_of) FROM {_INCOMING}) "
            f"AND series_id NOT IN (SELECT series_id FROM {_INCOMING})",
            [settings.name],
        )
        columns = ", ".join(_COLUMNS)
        updated = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY)
        cursor.execute(
            f"INSERT INTO {table} AS known ({columns}) SELECT {columns} FROM {_INCOMING} "
            f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {updated} "
            "WHERE (known.time, known.as_of) <= (excluded.time, excluded.as_of)"
        )
        connection.commit()


def _make_table(cursor: Cursor, table: str) -> None:
    """Make the table where there is none, when no other writes; raises ``OutputError`` for another of this name."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext($1))", [table])
    cursor.execute(_HELD, [table])
    held = dict(cursor.fetchall())
    if not held:
        cursor.execute(f"CREATE TABLE {table} ({_declared()}, PRIMARY KEY ({', '.join(_KEY)}))")
    elif other := [f"{name} {kind}" for name, kind in _COLUMNS.items() if held.get(name) != kind]:
        raise OutputError(
            f"output.latest_table: found a table {table!r} without {', '.join(other[:4])}; expected one that this "
            "program made, or a name that is free."
        )


def _declared() -> str:
    return ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())


@contextmanager
def _transaction(settings: Settings) -> Iterator[tuple[Connection, Cursor]]:
    address = str(settings.output.latest)

    def unreachable(cause: str) -> OutputError:
        return OutputError(f"output.latest: {address!r} {cause}.")

    with connected(address, unreachable) as connection, connection.cursor() as cursor:
        try:
            yield connection, cursor
        except server_errors() as error:
            raise unreachable(f"cannot be told the newest rows: {said_by_server(error)}") from None
