"""The rows of a query, as a part of the source: one statement that reads, in a transaction that cannot write."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import polars as pl
import pyarrow as pa

from tasks.config.errors import SourceError
from tasks.config.sections.source import Source
from tasks.source.parts import FILE, ROW, Part, require_columns
from tasks.source.postgres import SEVERAL, WRITES, connected, said_by_server, server_errors, state_of

_READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_FIRST_DAY, _LAST_DAY = -(2**19), 2**21  # of the years 534 and 7711; beyond lie PostgreSQL's infinities


def query_part(source: Source, wanted: Mapping[str, str], n_rows: int | None = None) -> Part:
    """What the query of a source finds, or its first ``n_rows``, if it has the ``wanted`` columns; a key names each.

    Rows stand in the order in which the query gives them. Raises ``SourceError``.
    """
    found = _plain(_answer(source, n_rows))
    require_columns([("the query", found.schema)], wanted)
    kept = found.lazy().select(*wanted).with_row_index(ROW, offset=1).with_columns(pl.lit("the query").alias(FILE))
    return Part("the query", kept, pl.Schema({name: found.schema[name] for name in wanted}))


def _answer(source: Source, n_rows: int | None) -> pa.Table:
    address = source.path

    def unreachable(cause: str) -> SourceError:
        return SourceError(f"source.path: {address!r} {cause}.")

    with connected(address, unreachable) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(_READ_ONLY)
            cursor.execute(f"{source.query}\n")  # the driver puts it in brackets: its last line may be a comment
            answer = _first(cursor.fetch_record_batch(), n_rows)
        except server_errors() as error:
            raise _refused(error) from None
    if not answer.num_columns:
        raise SourceError("source.query: found a statement that gives no rows; expected one that reads: a SELECT.")
    return answer


def _first(batches: pa.RecordBatchReader, n_rows: int | None) -> pa.Table:
    if n_rows is None:
        return batches.read_all()
    return pa.Table.from_batches(islice(batches, 1), batches.schema).slice(0, n_rows)


def _refused(error: Exception) -> SourceError:
    if state_of(error) == WRITES:
        return SourceError("source.query: found a statement that writes; expected one that reads: a SELECT.")
    if SEVERAL in str(error):
        return SourceError("source.query: found several statements; expected one: a SELECT.")
    return SourceError(f"source.query: the server answers: {said_by_server(error)}; expected one SELECT that it takes.")


def _plain(answer: pa.Table) -> pl.DataFrame:
    """Polars' own types: numeric as double, other types of the server's own as they are stored, moments without end
    as none.
    """
    for place, column in enumerate(answer.schema):
        if isinstance(column.type, pa.BaseExtensionType):
            chunks = [chunk.storage for chunk in answer.column(place).chunks]
            stored = pa.chunked_array(chunks, column.type.storage_type)
            answer = answer.set_column(place, pa.field(column.name, stored.type, metadata=column.metadata), stored)
    names = [column.name for column in answer.schema if (column.metadata or {}).get(b"POSTGRESQL:type") == b"numeric"]
    found = pl.DataFrame(pl.from_arrow(answer))
    ended = [
        pl.when(pl.col(name).to_physical().is_between(_FIRST_DAY * in_day, _LAST_DAY * in_day)).then(name)
        for name, dtype in found.schema.items()
        if (in_day := _units_in_a_day(dtype)) is not None
    ]
    return found.with_columns(pl.col(names).cast(pl.Float64), *ended)


def _units_in_a_day(dtype: pl.DataType) -> int | None:
    """Of a date and of PostgreSQL's timestamps; None of what is no moment."""
    if dtype == pl.Date:
        return 1
    return 86_400_000_000 if isinstance(dtype, pl.Datetime) else None
