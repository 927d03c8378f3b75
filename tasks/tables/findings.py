"""The tables of what runs found of their inputs: series set aside, and columns that are not what they were."""

from __future__ import annotations

import hashlib

import polars as pl

from tasks.config.columns import DRIFT_COLUMNS, QUARANTINE_COLUMNS
from tasks.tables.commit import commit_rows
from tasks.tables.places import drift_table, quarantine_table
from tasks.tables.storage import rows_at


def append_quarantine(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note the series set aside by this run, each set of them once; the table is there even if none was."""
    told = hashlib.sha256(rows.select("series_id", "reason", "detail").write_csv().encode()).hexdigest()
    commit_rows(quarantine_table(states), QUARANTINE_COLUMNS, f"{key} {told[:16]}", lambda _: rows, may_be_empty=True)


def read_quarantine(states: str, model_name: str) -> pl.DataFrame:
    """Every series that a run of this model set aside; empty where none was."""
    return rows_at(quarantine_table(states), QUARANTINE_COLUMNS, model_name)


def append_drift(states: str, rows: pl.DataFrame, key: str) -> None:
    """Note what this run found of the inputs, once."""
    commit_rows(drift_table(states), DRIFT_COLUMNS, key, lambda _: rows)


def read_drift(states: str, model_name: str) -> pl.DataFrame:
    """What runs of this model found of their inputs; empty where nothing was."""
    return rows_at(drift_table(states), DRIFT_COLUMNS, model_name)
