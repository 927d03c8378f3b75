"""The table of a few rows of each series as they were read: what a later run compares its source with."""

from __future__ import annotations

import polars as pl
from deltalake import DeltaTable

from tasks.config.columns import SAMPLE_COLUMNS
from tasks.config.settings import Settings
from tasks.source.sample import renewed
from tasks.source.validate import Validated
from tasks.tables.commit import commit_rows
from tasks.tables.places import sample_table
from tasks.tables.storage import open_table, rows_of


def read_sample(settings: Settings, lineage: str) -> pl.DataFrame:
    """``series_id``, ``time``, ``feature``, ``value`` of a few rows of each series of a line."""
    return _of_line(open_table(sample_table(settings.output.states), SAMPLE_COLUMNS), settings.name, lineage)


def keep_sample(settings: Settings, validated: Validated, lineage: str) -> None:
    """Keep rows of each series that this run publishes; those that are kept already stay as they are."""

    def wanted(table: DeltaTable | None) -> pl.DataFrame:
        kept = _of_line(table, settings.name, lineage)
        sample = renewed(kept, validated)
        rows = sample.clear() if sample.equals(kept) else sample
        return rows.with_columns(lineage=pl.lit(lineage), model_name=pl.lit(settings.name))

    own = f"model_name = '{settings.name}' AND lineage = '{lineage}'"
    commit_rows(sample_table(settings.output.states), SAMPLE_COLUMNS, None, wanted, replaces=own)


def _of_line(table: DeltaTable | None, model_name: str, lineage: str) -> pl.DataFrame:
    own = rows_of(table, SAMPLE_COLUMNS, model_name).filter(lineage=lineage)
    return own.select("series_id", "time", "feature", "value").sort("series_id", "time", "feature")
