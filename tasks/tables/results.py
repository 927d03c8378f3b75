"""The table of what nights fitted: every candidate of every model, which was chosen, and what the gate said of it."""

from __future__ import annotations

import polars as pl

from tasks.config.columns import RESULT_COLUMNS
from tasks.tables.commit import commit_rows
from tasks.tables.places import results_table
from tasks.tables.storage import rows_at


def append_results(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note what this run fitted, once."""
    commit_rows(results_table(states), RESULT_COLUMNS, key, lambda _: rows)


def read_results(states: str, model_name: str) -> pl.DataFrame:
    """What runs of this model fitted; empty where nothing was."""
    return rows_at(results_table(states), RESULT_COLUMNS, model_name)
