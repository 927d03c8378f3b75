"""The table of the states' names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import polars as pl
from deltalake import DeltaTable

from tasks.config.columns import NAME_COLUMNS
from tasks.config.errors import OutputError
from tasks.tables.commit import commit_rows
from tasks.tables.places import names_table
from tasks.tables.storage import DTYPES, rows_at, rows_of


def append_names(states: str, names: Mapping[int, str], model_name: str, born: datetime, key: str) -> None:
    """Note states that have no name yet."""

    def nameless(table: DeltaTable | None) -> pl.DataFrame:
        known = _names(rows_of(table, NAME_COLUMNS, model_name))
        new = [(state, name) for state, name in names.items() if state not in known]
        rows = pl.DataFrame(new, schema={"state": pl.Int16, "name": pl.String}, orient="row")
        return rows.with_columns(born=pl.lit(born), died=None, model_name=pl.lit(model_name))

    commit_rows(names_table(states), NAME_COLUMNS, key, nameless)


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
        name = pl.col("state").replace_strict(dict(names), default=pl.col("name"), return_dtype=pl.String)
        end = pl.col("state").replace_strict(dict(died), default=pl.col("died"), return_dtype=DTYPES["timestamp"])
        return rows_of(table, NAME_COLUMNS, model_name).with_columns(name.alias("name"), end.alias("died"))

    commit_rows(names_table(states), NAME_COLUMNS, None, renamed, replaces=f"model_name = '{model_name}'")


def read_names(states: str, model_name: str) -> dict[int, str]:
    """State id to name, as far as the states of this model have one."""
    return _names(read_name_rows(states, model_name))


def read_name_rows(states: str, model_name: str) -> pl.DataFrame:
    """The names of this model's states with when they were born and died; empty where none has one."""
    return rows_at(names_table(states), NAME_COLUMNS, model_name)


def _names(rows: pl.DataFrame) -> dict[int, str]:
    return dict(rows.select("state", "name").iter_rows())
