"""Bring features to a common scale, with statistics of the training window only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from hsmm import Estimator
from tasks.config.laws import scaled_columns
from tasks.config.settings import Settings
from tasks.source.run_key import feature_matrix
from tasks.source.wild import NORMAL_SPREAD, SPREADS, without_far

OTHERS = "*"  # of whom the scale is that of all: a series that was not in training


@dataclass(frozen=True)
class Scaling:
    """How a model sees rows: features by the means and standard deviations of their series, and the context as it is.

    Attributes
    ----------
    columns
        The features, in the order of the model's columns.
    statistics
        ``series_id`` and, for every feature, ``mean:<feature>`` and ``scale:<feature>`` in the feature's units.
    context
        The columns that the model's laws may depend on, in their own units.
    absent
        Series that have a scale of an earlier training, and were not in that of the models.
    """

    columns: list[str]
    statistics: pl.DataFrame
    context: list[str] = field(default_factory=list)
    absent: frozenset[str] = frozenset()

    def knows(self) -> pl.Expr:
        """Whether a row's series has a scale."""
        series = self.statistics["series_id"]
        return pl.lit(value=True) if OTHERS in series else pl.col("series_id").is_in(series.implode())

    def trained(self) -> set[str]:
        """The series that the models were fitted on."""
        return {*self.statistics["series_id"].to_list()} - self.absent - {OTHERS}

    def with_absent(self, earlier: Scaling) -> Scaling:
        """The same, and the scales of series that only an earlier training has seen."""
        own = self.statistics["series_id"].implode()
        kept = earlier.statistics.filter(~pl.col("series_id").is_in(own) & (pl.col("series_id") != OTHERS))
        both = pl.concat([self.statistics, kept], how="vertical_relaxed")
        return replace(self, statistics=both, absent=self.absent | {*kept["series_id"].to_list()})

    def reads_as(self, other: Scaling) -> bool:
        """Whether both see the same columns of rows."""
        return self.columns == other.columns and self.context == other.context

    def given(self, rows: pl.DataFrame, model: Estimator) -> dict[str, Any]:
        """``X``, ``lengths`` and ``context`` of the rows, as this model is fitted and asked."""
        context = feature_matrix(rows, self.context) if model.uses_context else None
        return {"X": self.apply(rows), "lengths": series_lengths(rows), "context": context}

    def apply(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows, n_features) standardised features, NaN where missing."""
        return (feature_matrix(rows, self.columns) - self._lookup(rows, "mean")) / self._lookup(rows, "scale")

    def is_far(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows,) whether a row has a value ten spreads of a normal law from the mean, by its scale; false where
        features stay in their own units.
        """
        scale, mean = self._lookup(rows, "scale"), self._lookup(rows, "mean")
        is_scaled = (scale != 1.0) | (mean != 0.0)
        apart = np.abs(feature_matrix(rows, self.columns) - mean) / scale
        far: np.ndarray = (is_scaled & (apart > SPREADS * NORMAL_SPREAD)).any(axis=1)
        return far

    def log_volume(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows,) what to subtract from a log density of scaled features to have it in the features' own units."""
        observed = ~np.isnan(feature_matrix(rows, self.columns))
        return np.where(observed, np.log(self._lookup(rows, "scale")), 0.0).sum(axis=1)

    def log_density(self, model: Estimator, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows,) log p(row | rows before it) under a model of scaled features, in the features' own units."""
        return model.log_density(**self.given(rows, model)) - self.log_volume(rows)

    def _lookup(self, rows: pl.DataFrame, kind: str) -> np.ndarray:
        found = rows.select("series_id").join(self.statistics, on="series_id", how="left", maintain_order="left")
        values = found.select(f"{kind}:{column}" for column in self.columns)
        others = self.statistics.filter(series_id=OTHERS).select(values.columns)
        if len(others):
            values = values.with_columns(pl.col(name).fill_null(others[name][0]) for name in values.columns)
        if values.null_count().sum_horizontal().item():
            unknown = found.filter(values.to_series(0).is_null())["series_id"][0]
            raise ValueError(f"series {unknown!r} was not in training; expected one whose scale is known.")
        return values.to_numpy()


def series_lengths(rows: pl.DataFrame) -> list[int]:
    """Rows of each series, in order; a series' rows stand together."""
    return rows.select(pl.col("series_id").rle()).unnest("series_id")["len"].to_list()


def scaling_for(training: pl.DataFrame, settings: Settings) -> Scaling:
    """What a configuration's models see these training rows by; values that are far and few bend no scale."""
    columns, context = settings.value_columns, settings.context_columns
    tame = without_far(training, settings)
    return fit_scaling(tame, columns, settings.fit.scale, scaled_columns(settings), context)


def fit_scaling(
    training: pl.DataFrame,
    columns: list[str],
    kind: Literal["series", "pooled", "none"],
    scaled: Sequence[str] | None = None,
    context: Sequence[str] = (),
) -> Scaling:
    """Statistics of the training rows: each series' own, all series' together, or none at all.

    Only ``scaled`` columns (by default all) are moved and stretched; the others stay in their own units.
    """
    moved = [column for column in columns if kind != "none" and (scaled is None or column in scaled)]
    moments = [
        *(pl.col(column).mean().alias(f"mean:{column}") for column in moved),
        *(pl.col(column).std(ddof=0).alias(f"scale:{column}") for column in moved),
    ]
    series = training.select(pl.col("series_id").unique(maintain_order=True))
    if kind == "series" and moved:
        found = training.group_by("series_id", maintain_order=True).agg(*moments)
    else:
        series = pl.concat([series, pl.DataFrame({"series_id": [OTHERS]})])
        found = series.join(training.select(*moments), how="cross") if moved else series
    unmoved = [
        pl.lit(value).alias(f"{name}:{column}")
        for name, value in (("mean", 0.0), ("scale", 1.0))
        for column in columns
        if column not in moved
    ]
    in_order = [f"{name}:{column}" for name in ("mean", "scale") for column in columns]
    return Scaling(columns, found.with_columns(unmoved).select("series_id", *in_order), list(context))
