"""The table of what nights fitted: every candidate of every model, which was chosen, and what the gate said of it."""

from __future__ import annotations

import polars as pl
from deltalake.exceptions import DeltaError

from tasks.config.columns import RESULT_COLUMNS
from tasks.config.errors import PublishError
from tasks.tables.commit import commit_rows
from tasks.tables.places import results_table
from tasks.tables.storage import collected, first_line, open_table, rows_at, scanned


def append_results(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note what this run fitted, once."""
    commit_rows(results_table(states), RESULT_COLUMNS, key, lambda _: rows)


def read_results(states: str, model_name: str) -> pl.DataFrame:
    """What runs of this model fitted; empty where nothing was."""
    return rows_at(results_table(states), RESULT_COLUMNS, model_name)


def forget_results(states: str, model_name: str, window: str) -> int:
    """Remove what runs of this model fitted longer than a ``window`` before its newest; how many rows that was.

    The keys of those runs stay in the log: none writes its rows again.
    """
    location = results_table(states)
    table = open_table(location, RESULT_COLUMNS)
    if table is None or window == "all":
        return 0
    own = scanned(table).filter(pl.col("model_name") == model_name)
    oldest = collected(own.select(pl.col("as_of").max().dt.offset_by(f"-{window}")), table).item()
    if oldest is None:
        return 0
    try:
        told = table.delete(f"model_name = '{model_name}' AND as_of < '{oldest:%Y-%m-%dT%H:%M:%S.%fZ}'")
    except (DeltaError, OSError) as error:
        raise PublishError(f"output.states: {location!r} cannot be thinned: {first_line(error)}.") from error
    return int(told["num_deleted_rows"])
