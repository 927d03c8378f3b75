"""Bring features to a common scale, with statistics of the training window only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from tasks.source.run_key import feature_matrix


@dataclass(frozen=True)
class Scaling:
    """Means and standard deviations by series.

    Attributes
    ----------
    statistics
        ``series_id`` and, for every feature, ``mean:<feature>`` and ``scale:<feature>`` in the feature's units.
    """

    columns: list[str]
    statistics: pl.DataFrame

    def apply(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows, n_features) standardised features, NaN where missing."""
        return (feature_matrix(rows, self.columns) - self._lookup(rows, "mean")) / self._lookup(rows, "scale")

    def log_volume(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows,) what to subtract from a log density of scaled features to have it in the features' own units."""
        observed = ~np.isnan(feature_matrix(rows, self.columns))
        return np.where(observed, np.log(self._lookup(rows, "scale")), 0.0).sum(axis=1)

    def _lookup(self, rows: pl.DataFrame, kind: str) -> np.ndarray:
        found = rows.select("series_id").join(self.statistics, on="series_id", how="left", maintain_order="left")
        values = found.select(f"{kind}:{column}" for column in self.columns)
        if values.null_count().sum_horizontal().item():
            unknown = found.filter(values.to_series(0).is_null())["series_id"][0]
            raise ValueError(f"series {unknown!r} was not in training; expected one whose scale is known.")
        return values.to_numpy()


def fit_scaling(training: pl.DataFrame, columns: list[str], kind: Literal["series", "pooled", "none"]) -> Scaling:
    """Statistics of the training rows: each series' own, all series' together, or none at all."""
    if kind == "series":
        return Scaling(columns, training.group_by("series_id", maintain_order=True).agg(*_moments(columns)))
    series = training.select(pl.col("series_id").unique(maintain_order=True))
    if kind == "pooled":
        return Scaling(columns, series.join(training.select(*_moments(columns)), how="cross"))
    zeros, ones = (pl.lit(0.0), "mean"), (pl.lit(1.0), "scale")
    return Scaling(columns, series.with_columns(v.alias(f"{k}:{c}") for c in columns for v, k in (zeros, ones)))


def _moments(columns: list[str]) -> list[pl.Expr]:
    means = [pl.col(column).mean().alias(f"mean:{column}") for column in columns]
    scales = [pl.col(column).std(ddof=0).alias(f"scale:{column}") for column in columns]
    return means + scales
