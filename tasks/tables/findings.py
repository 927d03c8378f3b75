"""The tables of what runs found of their inputs: series set aside, and columns that are not what they were."""

from __future__ import annotations

import hashlib

import polars as pl

from tasks.config.columns import DRIFT_COLUMNS, QUARANTINE_COLUMNS
from tasks.config.outcome import Finding, Occasion
from tasks.tables.commit import commit_rows
from tasks.tables.places import drift_table, quarantine_table
from tasks.tables.storage import history, open_table, rows_at

_OF_RUN, _OCCASION = "of_run", "occasion"


def append_quarantine(states: str, rows: pl.DataFrame, key: str, occasion: Finding) -> None:
    """Note the series set aside by this run, each set of them once; the table is there even if none was."""
    told = hashlib.sha256(rows.select("series_id", "reason", "detail").write_csv().encode()).hexdigest()
    note, said = f"{key} {told[:16]}", {_OF_RUN: key, _OCCASION: occasion}
    commit_rows(quarantine_table(states), QUARANTINE_COLUMNS, note, lambda _: rows, lambda _: said, may_be_empty=True)


def read_quarantine(states: str, model_name: str) -> pl.DataFrame:
    """Every series that a run of this model set aside; empty where none was."""
    return rows_at(quarantine_table(states), QUARANTINE_COLUMNS, model_name)


def append_drift(states: str, rows: pl.DataFrame, key: str, occasion: Occasion) -> None:
    """Note what this run found of the inputs, once."""
    said = {_OF_RUN: key, _OCCASION: occasion}
    commit_rows(drift_table(states), DRIFT_COLUMNS, key, lambda _: rows, lambda _: said)


def read_drift(states: str, model_name: str) -> pl.DataFrame:
    """What runs of this model found of their inputs; empty where nothing was."""
    return rows_at(drift_table(states), DRIFT_COLUMNS, model_name)


def runs_of(states: str, occasion: Finding) -> set[str]:
    """The keys of the runs whose every finding was noted on this occasion, whether they came to a publish or not."""
    told: dict[str, set[str]] = {}
    for location, columns in ((quarantine_table(states), QUARANTINE_COLUMNS), (drift_table(states), DRIFT_COLUMNS)):
        table = open_table(location, columns)
        for commit in [] if table is None else history(table):
            if _OF_RUN in commit:
                told.setdefault(commit[_OF_RUN], set()).add(commit[_OCCASION])
    return {key for key, occasions in told.items() if occasions == {occasion}}
