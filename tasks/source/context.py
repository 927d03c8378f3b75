"""What the model's laws depend on beside the data: known at each row's own time, and never made up silently."""

from __future__ import annotations

import polars as pl

from tasks.config.components import reads_context
from tasks.config.ops import OPS
from tasks.config.settings import Settings
from tasks.source.features import expression


def with_context(rows: pl.DataFrame, settings: Settings, zone: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``rows`` with a context wherever a law is asked, and the series (series_id, detail) that lack one.

    Where a row has no value, nothing is asked of an emission: its context may be anything, and is 0. What reads the
    time alone is known for gaps too.
    """
    columns, source = settings.context_columns, settings.source
    if not columns:
        return rows, rows.select("series_id", pl.lit("").alias("detail")).clear()
    of_time = {name: f for name, f in settings.made_context.items() if OPS[f.op].gap == "none"}
    rows = rows.with_columns(expression(feature, zone).alias(name) for name, feature in of_time.items())
    if source.missing_context == "last_known":
        rows = rows.with_columns(pl.col(columns).forward_fill().over("series_id"))
    lacks = pl.any_horizontal(pl.col(columns).is_null())
    if source.missing_context == "mark_missing":
        rows = rows.with_columns(pl.when(~lacks).then(pl.col(settings.value_columns)))
    asked = pl.any_horizontal(pl.col(settings.value_columns).is_not_null())
    chain = ("transition", "duration", "context")
    if any(reads_context(kind, choice) for kind in chain for choice in getattr(settings.model, kind)):
        asked = pl.lit(value=True)  # states change in gaps, too
    if any(reads_context("initial", choice) for choice in settings.model.initial):
        asked = asked | (pl.int_range(pl.len()).over("series_id") == 0)
    failed = (
        rows.filter(lacks & asked)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .select("series_id", pl.format(_TOLD, "n", "time").alias("detail"))
    )
    return rows.with_columns(pl.col(columns).fill_null(0.0)), failed


_TOLD = (
    "found {} rows without a context, the first at {}; expected it in each, or `source.missing_context` to say what "
    "becomes of them"
)
