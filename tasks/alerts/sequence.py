"""The rows in the order in which they became known: what was judged is never judged again, and never otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from tasks.config.columns import WILD, WITHOUT_VALUE
from tasks.config.outcome import Occasion
from tasks.config.settings import Settings
from tasks.tables.publishes import read_publishes
from tasks.tables.states import read_as_published

BACKFILL: Occasion = "backfill"
_COLUMNS = [
    "series_id",
    "time",
    "as_of",
    "state",
    "state_name",
    "p_filtered",
    "log_density",
    "status",
    "reason",
    "model_version",
]


def published_rows(settings: Settings) -> tuple[pl.DataFrame, Iterator[pl.DataFrame]]:
    """This model's publishes, oldest first, and the rows of its newest lineage as they became known, those of some
    series after those of others.

    Besides the table's columns, ``order`` numbers the publishes and ``debut`` is that of a series' first. Only causal
    columns are read.
    """
    publishes = read_publishes(settings.output.states, settings.name)
    if publishes.is_empty():
        return publishes, iter(())
    newest = publishes["lineage"][-1]
    own = publishes.filter(pl.col("lineage").eq_missing(newest))
    parts = read_as_published(settings.output.states, settings.name, own, _COLUMNS)
    return publishes, (rows.with_columns(pl.col("order").min().over("series_id").alias("debut")) for rows in parts)


def valued(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with values, each where it was known first, unless a later one of its series was known before.

    What arrives late says nothing about the present. ``place`` counts a series' rows.
    """
    known = rows.filter(~pl.col("status").is_in(WITHOUT_VALUE))
    return _onward(known).with_columns(pl.int_range(pl.len()).over("series_id").alias("place"))


def ended(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that say whether a series' feed has ended: those with values, and those that are ``STALE``."""
    stale = _onward(rows).filter(pl.col("status") == "STALE")
    return pl.concat([valued(rows).drop("place"), stale]).sort("series_id", "order", "time")


def shown(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows for which the source has values, whether they are evidence or too wild for that."""
    return _onward(rows.filter(~pl.col("status").is_in(WITHOUT_VALUE) | pl.col("reason").is_in(WILD)))


def first_rows(rows: pl.DataFrame) -> np.ndarray:
    """(n_rows,) whether a row is its series' first."""
    series = rows["series_id"]
    return (series != series.shift()).fill_null(value=True).to_numpy()


def state_probabilities(lists: pl.Series) -> np.ndarray:
    """(n_rows, n_states) of lists of several lengths: an id that a model does not know has probability 0."""
    longest: int = lists.list.len().max() or 1  # type: ignore[assignment]
    columns = [lists.list.get(k, null_on_oob=True).fill_null(0.0).to_numpy() for k in range(longest)]
    return np.stack(columns, axis=1)


def _onward(rows: pl.DataFrame) -> pl.DataFrame:
    earlier = pl.col("time").cum_max().shift().over("series_id")
    return rows.filter((pl.col("time") > earlier).fill_null(value=True))
