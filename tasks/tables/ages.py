"""How old the newest row of each series is: no row can say of a series that it has no more of them."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tasks.config.durations import as_timedelta
from tasks.config.settings import Settings
from tasks.source.policies import by_calendar
from tasks.tables.findings import read_quarantine
from tasks.tables.states import read_spans

AGE, GONE = "age", "gone"


def with_ages(newest: pl.DataFrame, settings: Settings, as_of: datetime | None) -> pl.DataFrame:
    """The ``newest`` row of every series with its ``age``: the steps since its last value, counted up to the newest
    row of its calendar, or to the newest moment where rows are steps; null where series count steps of their own, or
    none can be told.

    A series that is older than ``source.stale_after`` and whose rows did not go on without values is STALE, for the
    reason that it was set aside for, or that the source has it no more (``gone``).
    """
    source = settings.source
    if source.has_own_counts or newest.is_empty():
        return newest.with_columns(pl.lit(None, pl.Int64).alias(AGE))
    spans = read_spans(settings.output.states, settings.name, as_of)
    known = pl.lit(newest["as_of"].max()) - as_timedelta(source.available_after)
    aged = []
    for frequency, part in by_calendar(newest.join(spans, on="series_id", how="left"), source):
        moment = pl.lit(part["time"].max()) if frequency is not None else known
        steps = ((moment - pl.col("valued")) / pl.col("usual")).floor()
        aged.append(part.with_columns(pl.max_horizontal(steps, 0).cast(pl.Int64).alias(AGE)))
    is_gone = (pl.col(AGE) > source.stale_after) & (pl.col("status") != "STALE")
    why = pl.coalesce(pl.when(pl.col("aside_at") > pl.col("as_of")).then("aside_for"), pl.lit(GONE))
    return (
        pl.concat(aged)
        .join(_aside(settings, as_of), on="series_id", how="left")
        .with_columns(
            pl.when(is_gone).then(pl.lit("STALE")).otherwise("status").alias("status"),
            pl.when(is_gone).then(why).otherwise("reason").alias("reason"),
        )
        .sort("series_id")
        .select(*newest.columns, AGE)
    )


def _aside(settings: Settings, as_of: datetime | None) -> pl.DataFrame:
    """When and why each series was set aside last."""
    told = read_quarantine(settings.output.states, settings.name).sort("as_of")
    known = told if as_of is None else told.filter(pl.col("as_of") <= as_of)
    return known.group_by("series_id").agg(
        pl.col("as_of").last().alias("aside_at"), pl.col("reason").last().alias("aside_for")
    )
