"""Declared transforms: causal, series by series, from the rows that are there."""

from __future__ import annotations

import polars as pl

from tasks.config.settings import Feature
from tasks.source.ingest import RAW


def add_features(rows: pl.DataFrame, features: dict[str, Feature]) -> pl.DataFrame:
    """``series_id``, ``time`` and one column a feature; ``rows`` are sorted by series and time.

    A difference is taken to the last known value, so a closed day does not cost the next day's return.
    """
    return rows.select("series_id", "time", *(expression(f).over("series_id").alias(n) for n, f in features.items()))


def expression(feature: Feature) -> pl.Expr:
    """The transform as a polars expression over one series' rows in order of time."""
    first, *others = (pl.col(f"{RAW}{column}") for column in feature.inputs)
    match feature.op:
        case "identity":
            return first
        case "log":
            return first.log()
        case "diff":
            return first - _last_known(first)
        case "log_return":
            return first.log() - _last_known(first.log())
        case "log_ratio":
            return first.log() - others[0].log()
        case "rolling_mean":
            return first.rolling_mean(feature.window or 2)
        case "rolling_std":
            return first.rolling_std(feature.window or 2)


def _last_known(values: pl.Expr) -> pl.Expr:
    return values.forward_fill().shift(1)
