"""The state table: rows of a model, each of one lineage, none written twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from tasks.config.columns import STATE_COLUMNS, WITHOUT_VALUE
from tasks.config.errors import OutputError
from tasks.config.outcome import RunSummary
from tasks.source.pieces import numbered
from tasks.tables.commit import SUMMARY, commit_rows
from tasks.tables.publishes import said_by
from tasks.tables.storage import DTYPES, collected, open_table, scanned

_WIDTH = 5  # of a row, against one of the source


def publish_states(
    states: str,
    rows: pl.DataFrame,
    model_name: str,
    key: str,
    summary: RunSummary,
    counted: Callable[[pl.DataFrame], RunSummary] = lambda _: {},
) -> int:
    """Add the rows that the table lacks for this model, in one commit; how many they are.

    The commit says the ``summary``, how many rows it adds, and what else is ``counted`` of them. Of several runs that
    publish at once, each sees what those before it wrote: no row is written twice.
    """
    return commit_rows(
        states,
        STATE_COLUMNS,
        key,
        lambda table: rows if table is None else _lacking(table, rows, model_name, summary.get("lineage")),
        lambda added: {SUMMARY: json.dumps({**summary, **counted(added), "n_published": len(added)})},
    )


def say_published(states: str, key: str, summary: RunSummary) -> None:
    """Commit, after its shards, what a run says of itself."""

    def none(table: DeltaTable | None) -> pl.DataFrame:  # noqa: ARG001 - whatever the table holds
        return pl.DataFrame(schema={name: DTYPES[kind] for name, kind in STATE_COLUMNS.items()})

    commit_rows(states, STATE_COLUMNS, key, none, lambda _: {SUMMARY: json.dumps(summary)}, says=True)


def unpublished(states: str, rows: pl.DataFrame, model_name: str, lineage: str | None = None) -> pl.DataFrame:
    """The rows that the table lacks for this lineage of the model, and those it only knows as missing from before."""
    table = open_table(states, STATE_COLUMNS)
    return rows if table is None else _lacking(table, rows, model_name, lineage)


def read_states(
    states: str, model_name: str, series: str | None = None, as_of: datetime | None = None, *, latest: bool = False
) -> pl.DataFrame:
    """A model's rows as they were known at ``as_of`` (by default now), each at its newest, by series and time.

    They are of one lineage: that of the newest publish by then. With ``latest``, of each series the last.
    """
    table = state_table(states)
    query = _in_force(table, model_name, as_of)
    if series is not None:
        query = query.filter(pl.col("series_id") == series)
    if latest:
        last = collected(query.group_by("series_id").agg(pl.col("time").max()), table)
        query = query.join(last.lazy(), on=["series_id", "time"], how="semi")
    return collected(_newest_rows(query), table)


def read_states_of(states: str, model_name: str, series: Collection[str]) -> pl.DataFrame:
    """The rows of these series that :func:`read_states` finds now."""
    table = state_table(states)
    own = pl.col("series_id").is_in(pl.Series([*series], dtype=pl.String).implode())
    return collected(_newest_rows(_in_force(table, model_name).filter(own)), table)


def states_in_pieces(states: str, model_name: str) -> Iterator[pl.DataFrame]:
    """The rows that :func:`read_states` finds now, those of some series after those of others."""
    table = state_table(states)
    query = _in_force(table, model_name)
    for within in _ranges(query, table):
        yield collected(_newest_rows(query.filter(within)), table)


def _in_force(table: DeltaTable, model_name: str, as_of: datetime | None = None) -> pl.LazyFrame:
    known = scanned(table).filter(pl.col("model_name") == model_name, _is_in_force(table, model_name, as_of))
    return known if as_of is None else known.filter(pl.col("as_of") <= as_of)


def _newest_rows(query: pl.LazyFrame) -> pl.LazyFrame:
    """Each row at its newest, by series and time."""
    return query.sort("series_id", "time", "as_of").unique(["series_id", "time"], keep="last", maintain_order=True)


def _ranges(query: pl.LazyFrame, table: DeltaTable) -> list[pl.Expr]:
    """Of which series rows are, so many after others that their rows need little room."""
    sizes = collected(query.group_by("series_id").agg(pl.len().alias("n")).sort("series_id"), table)
    ends = (
        numbered(sizes, _WIDTH)
        .group_by("piece", maintain_order=True)
        .agg(pl.col("series_id").first().alias("first"), pl.col("series_id").last().alias("last"))
    )
    return [pl.col("series_id").is_between(pl.lit(first), pl.lit(last)) for _, first, last in ends.iter_rows()]


def read_spans(states: str, model_name: str, as_of: datetime | None = None) -> pl.DataFrame:
    """``series_id``, ``valued`` (the time of its last value) and ``usual`` (the usual distance of its rows), of the
    rows that :func:`read_states` finds.
    """
    table = state_table(states)
    query = _in_force(table, model_name, as_of)
    has_value = ~pl.col("status").is_in(WITHOUT_VALUE)
    spans = query.group_by("series_id").agg(
        pl.col("time").filter(has_value).max().alias("valued"),
        pl.col("time").unique().sort().diff().median().alias("usual"),
    )
    return collected(spans, table)


def read_as_published(
    states: str, model_name: str, publishes: pl.DataFrame, columns: list[str]
) -> Iterator[pl.DataFrame]:
    """The rows of these publishes, those of some series after those of others, by series, and within it as they became
    known: by ``order``, then by time.
    """
    table = state_table(states)
    own = scanned(table).filter(pl.col("model_name") == model_name).select(*columns, "run_key")
    known = publishes.lazy().select("run_key", "order", "occasion")
    for within in _ranges(own, table):
        yield collected(own.filter(within).join(known, on="run_key").sort("series_id", "order", "time"), table)


def published_after(states: str, model_name: str, newest: datetime, moment: datetime) -> tuple[int, datetime | None]:
    """How many rows up to the ``newest`` were published as of later than a moment, and the first such ``as_of``."""
    table = open_table(states, STATE_COLUMNS)
    if table is None:
        return 0, None
    of_model = scanned(table).filter(pl.col("model_name") == model_name)
    later = of_model.filter(pl.col("time") <= newest, pl.col("as_of") > moment)
    n_rows, since = collected(later.select(pl.len(), pl.col("as_of").min()), table).row(0)
    return n_rows, since


def published_times(states: str, model_name: str, lineage: str) -> pl.DataFrame:
    """``series_id`` and ``time`` of this lineage's rows that have values."""
    table = open_table(states, STATE_COLUMNS)
    if table is None:
        return pl.DataFrame(schema={"series_id": pl.String, "time": DTYPES["timestamp"]})
    known = scanned(table).filter(pl.col("model_name") == model_name, _is_of(table, model_name, lineage))
    valued = known.filter(~pl.col("status").is_in(WITHOUT_VALUE))
    return collected(valued.select("series_id", "time").unique(), table)


def require_out_of_sample(states: str, model_name: str) -> None:
    """Raises ``OutputError`` if the table has rows of this model that the parameters behind them have seen."""
    table = open_table(states, STATE_COLUMNS)
    if table is None:
        return
    seen = scanned(table).filter(pl.col("model_name") == model_name, pl.col("in_sample"))
    if n_seen := collected(seen.select(pl.len()), table).item():
        raise OutputError(
            f"output.states: found {n_seen} rows of {model_name!r} in {states!r} that their models were fitted on, as "
            "nights publish them; expected a table of out-of-sample rows alone: choose one, such as "
            f"--set output.states={states.rstrip('/')}_walk_forward."
        )


def state_table(states: str) -> DeltaTable:
    """The table. Raises ``OutputError`` where there is none."""
    table = open_table(states, STATE_COLUMNS)
    if table is None:
        raise OutputError(f"output.states: found no state table at {states!r}; expected one: run `hsmm run` first.")
    return table


def n_waiting(states: str, rows: pl.DataFrame, model_name: str, lineage: str | None = None) -> int:
    """How many rows have a value that came after the table had said, as of the same moment, that there was none."""
    table = open_table(states, STATE_COLUMNS)
    if table is None:
        return 0
    as_of = pl.col("as_of") + pl.duration(microseconds=1)
    return len(_lacking(table, rows.with_columns(as_of), model_name, lineage)) - len(
        _lacking(table, rows, model_name, lineage)
    )


def _lacking(table: DeltaTable, rows: pl.DataFrame, model_name: str, lineage: str | None) -> pl.DataFrame:
    valued = (~pl.col("status").is_in(WITHOUT_VALUE)).any()
    ends = (pl.lit(rows["series_id"].min(), pl.String), pl.lit(rows["series_id"].max(), pl.String))
    within = pl.col("series_id").is_between(*ends)  # files of other series are not read
    seen = collected(
        scanned(table)
        .filter(pl.col("model_name") == model_name, within, _is_of(table, model_name, lineage))
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
    said = said_by(table, model_name)
    others = [str(summary["run_key"]) for summary in said if summary.get("lineage", lineage) != lineage]
    return ~pl.col("run_key").is_in(pl.Series(others, dtype=pl.String).implode())


def _is_in_force(table: DeltaTable, model_name: str, as_of: datetime | None) -> pl.Expr:
    """Whether a row is of the lineage that was published last, as of a moment."""
    for said in said_by(table, model_name):
        if "lineage" in said and (as_of is None or datetime.fromisoformat(said["as_of"]) <= as_of):
            return _is_of(table, model_name, said["lineage"])
    return pl.lit(value=True)
