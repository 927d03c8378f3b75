"""Values that most rows share: what a bell has no room for, and a law with a probability of its own has."""

from __future__ import annotations

from typing import Any

import polars as pl

from tasks.config.laws import scaled_columns
from tasks.config.settings import Settings

_MANY = 0.5


def told_ties(rows: pl.DataFrame, settings: Settings) -> list[dict[str, Any]]:
    """``feature``, ``value``, ``share`` of each feature with a location and a scale that has one value in half of the
    training rows or more; ``instead`` names an emission that gives it a probability of its own, if one does.
    """
    training = rows.filter("trains")
    told = []
    for column in scaled_columns(settings):
        values = training[column].drop_nulls()
        if values.is_empty():
            continue
        value, n = values.value_counts(sort=True).row(0)
        if n >= _MANY * len(values):
            told.append(
                {"feature": column, "value": value, "share": n / len(values), "instead": _instead(values, value)}
            )
    return told


def _instead(values: pl.Series, value: float) -> str | None:
    if value != 0 or values.min() < 0:  # type: ignore[operator]
        return None
    return "zero_inflated_poisson" if (values == values.floor()).all() else "zero_inflated_gamma"
