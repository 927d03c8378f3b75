"""Bring features to a common scale, with statistics of the training window only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from hsmm import Estimator
from tasks.config.laws import scaled_columns
from tasks.config.settings import Settings
from tasks.source.run_key import feature_matrix
from tasks.source.wild import compared_among, no_evidence, reach, with_tame_context, without_far

OTHERS = "*"  # of whom the scale is that of all: a series that was not in training


@dataclass(frozen=True)
class Scaling:
    """How a model sees rows: features by the means and standard deviations of their series, and the context as it is;
    what lies beyond what it was learnt from is as good as missing.

    Attributes
    ----------
    columns
        The features, in the order of the model's columns.
    statistics
        ``series_id`` and, for every feature, ``mean:<feature>`` and ``scale:<feature>`` in the feature's units; for it
        and every column of the context ``low:…`` and ``high:…``, where what was learnt ends: null, or not there, where
        it does not.
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
        return pl.lit(value=True) if OTHERS in self._places else pl.col("series_id").is_in(series.implode())

    def known(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows whose series has a scale."""
        if OTHERS in self._places or self._places.keys() >= {*series_runs(rows)[0]}:
            return rows
        return rows.filter(self.knows())

    def trained(self) -> set[str]:
        """The series that the models were fitted on."""
        return {*self.statistics["series_id"].to_list()} - self.absent - {OTHERS}

    def with_absent(self, earlier: Scaling) -> Scaling:
        """The same, and the scales of series that only an earlier training has seen."""
        own = self.statistics["series_id"].implode()
        kept = earlier.statistics.filter(~pl.col("series_id").is_in(own) & (pl.col("series_id") != OTHERS))
        both = pl.concat([self.statistics, kept], how="vertical_relaxed")
        return replace(self, statistics=both, absent=self.absent | {*kept["series_id"].to_list()})

    def of_series(self, series: Sequence[str]) -> Scaling:
        """The same for these series alone, and for those beyond training."""
        own = pl.col("series_id").is_in(pl.Series([*series, OTHERS], dtype=pl.String).implode())
        return replace(self, statistics=self.statistics.filter(own), absent=self.absent.intersection(series))

    def reaching(self, bounds: pl.DataFrame, *, of_all: bool) -> Scaling:
        """The same with ``low:…`` and ``high:…`` by series, those ``of_all`` for series beyond training, too."""
        rest = bounds.head(1).with_columns(series_id=pl.lit(OTHERS)) if of_all else bounds.clear()
        ends = pl.concat([bounds, rest])
        ends = ends.with_columns(
            pl.lit(None, pl.Float64).alias(name) for name in self.bounds if name not in ends.columns
        )
        known = self.statistics.join(ends, on="series_id", how="left", maintain_order="left")
        return replace(self, statistics=known.select(*self.statistics.columns, *self.bounds))

    @property
    def bounds(self) -> list[str]:
        """The names of the columns that say where what was learnt ends."""
        return [f"{end}:{column}" for end in ("low", "high") for column in (*self.columns, *self.context)]

    def reads_as(self, other: Scaling) -> bool:
        """Whether both see the same columns of rows."""
        return self.columns == other.columns and self.context == other.context

    def given(self, rows: pl.DataFrame, model: Estimator) -> dict[str, Any]:
        """``X``, ``lengths`` and ``context`` of the rows, as this model is fitted and asked."""
        return self.given_seen(self.seen(rows), model)

    def given_seen(self, seen: pl.DataFrame, model: Estimator) -> dict[str, Any]:
        """The same of rows as they are :meth:`seen`."""
        context = feature_matrix(seen, self.context) if model.uses_context else None
        return {"X": self.standardised(seen), "lengths": series_lengths(seen), "context": context}

    def apply(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows, n_features) standardised features, NaN where missing."""
        return self.standardised(self.seen(rows))

    def seen(self, rows: pl.DataFrame, far: pl.DataFrame | None = None) -> pl.DataFrame:
        """The rows (by series and time), the values that are no evidence missing."""
        far = self.far(rows) if far is None else far
        if not any(far[name].any() for name in far.columns):
            return rows
        tame = rows.with_columns(pl.when(~far[name]).then(pl.col(name)).alias(name) for name in self.columns)
        return with_tame_context(tame, self.columns, far.select(self.context)) if self.context else tame

    def far(self, rows: pl.DataFrame) -> pl.DataFrame:
        """A column of booleans for each feature and each of the context: values (of rows by series and time) beyond all
        that was learnt, and no evidence of a state; causal.
        """
        judged = [*self.columns, *self.context]
        if {*self.bounds} <= {*self.statistics.columns}:
            low, high = np.hsplit(self._lookup(rows, self.bounds, may_lack=True), 2)
            x = feature_matrix(rows, judged)
            if ((x < low) | (x > high)).any():
                return no_evidence(rows.select("series_id", *judged), low, high)
        return pl.DataFrame(dict.fromkeys(judged, np.zeros(len(rows), dtype=bool)))

    def log_volume(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows,) what to subtract from a log density of scaled features to have it in the features' own units."""
        observed = ~np.isnan(feature_matrix(rows, self.columns))
        return np.where(observed, np.log(self._lookup(rows, self._names("scale"))), 0.0).sum(axis=1)

    def log_density(self, model: Estimator, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows,) log p(row | rows before it) under a model of scaled features, in the features' own units."""
        return model.log_density(**self.given(rows, model)) - self.log_volume(self.seen(rows))

    def standardised(self, rows: pl.DataFrame) -> np.ndarray:
        """(n_rows, n_features) by the means and scales of their series, whatever is evidence."""
        mean, scale = (self._lookup(rows, self._names(kind)) for kind in ("mean", "scale"))
        return (feature_matrix(rows, self.columns) - mean) / scale

    def _names(self, kind: str) -> list[str]:
        return [f"{kind}:{column}" for column in self.columns]

    def _lookup(self, rows: pl.DataFrame, names: list[str], *, may_lack: bool = False) -> np.ndarray:
        """(n_rows, len(names)) the statistics of each row's series, NaN where there are none and ``may_lack``."""
        series, lengths = series_runs(rows)
        places = [self._places.get(name, -1) for name in series]
        values = np.column_stack([self._numbers[name][places] for name in names])
        lacking = np.isnan(values).any(axis=1)
        if lacking.any() and not may_lack:
            unknown = series[int(lacking.argmax())]
            raise ValueError(f"series {unknown!r} was not in training; expected one whose scale is known.")
        return np.repeat(values, lengths, axis=0)

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each series stands among the statistics."""
        return {series: place for place, series in enumerate(self.statistics["series_id"])}

    @cached_property
    def _numbers(self) -> dict[str, np.ndarray]:
        """Each statistic of all series, and last that of any other; what a series lacks is that of others."""
        found = self.statistics.drop("series_id").cast(pl.Float64)
        place = self._places.get(OTHERS)
        others = found.clear(1) if place is None else found[place]
        of_others = {name: pl.lit(others[name].first(), pl.Float64) for name in found.columns}
        filled = found.with_columns(pl.col(name).fill_null(value) for name, value in of_others.items())
        return {column.name: column.fill_null(np.nan).to_numpy() for column in pl.concat([filled, others])}


def series_lengths(rows: pl.DataFrame) -> list[int]:
    """Rows of each series, in order; a series' rows stand together."""
    return series_runs(rows)[1]


def series_runs(rows: pl.DataFrame) -> tuple[list[str], list[int]]:
    """Each series and its number of rows, in order; a series' rows stand together."""
    names = rows["series_id"]
    if len(rows) and names[0] == names[-1]:
        return [names[0]], [len(rows)]
    runs = rows.select(names.rle()).unnest("series_id")
    return runs["value"].to_list(), runs["len"].to_list()


def scaling_for(training: pl.DataFrame, settings: Settings) -> Scaling:
    """What a configuration's models see these training rows by; values that are far and few bend no scale."""
    columns, context = settings.value_columns, settings.context_columns
    tame = without_far(training, settings)
    found = fit_scaling(tame, columns, settings.fit.scale, scaled_columns(settings), context)
    return found.reaching(reach(training, settings), of_all=not compared_among(settings))


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
