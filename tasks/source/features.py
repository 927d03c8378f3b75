"""Declared transforms, computed: causal, series by series, from the rows that are there."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tasks.config.ops import OPS
from tasks.config.sections.feature import Feature
from tasks.source.seen import RAW


def add_features(rows: pl.DataFrame, features: Mapping[str, Feature], zone: str = "UTC") -> pl.DataFrame:
    """``series_id``, ``time`` and one column a feature; ``rows`` are sorted by series and time.

    A difference is taken to the last known value, so a closed day does not cost the next day's return. Days and hours
    are counted in ``zone``.
    """
    made = (expression(feature, zone).over("series_id").alias(name) for name, feature in features.items())
    return rows.select("series_id", "time", *made)


def expression(feature: Feature, zone: str = "UTC") -> pl.Expr:
    """The transform as a polars expression over one series' rows in order of time."""
    inputs = [pl.col(f"{RAW}{column}") for column in feature.inputs]
    return OPS[feature.op].expression(inputs or [pl.col("time").dt.convert_time_zone(zone)], feature)
