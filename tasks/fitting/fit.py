"""Fit every candidate to the training rows, of all series together or of each by itself, and rank them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

import hsmm
from hsmm.selection import CRITERIA
from tasks.config.errors import ConfigurationError, FitError
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL
from tasks.fitting.finished import FittedCandidate, Store, fit_candidate
from tasks.fitting.scaling import Scaling, fit_scaling
from tasks.source.validate import Validated


@dataclass(frozen=True)
class FittedUnit:
    """The candidates of one unit, best first; those that its rows cannot carry come last, without a model."""

    candidates: list[FittedCandidate]

    @property
    def best(self) -> FittedCandidate:
        return self.candidates[0]

    @property
    def ranking(self) -> pl.DataFrame:
        """One row a candidate, in order."""
        rows = [{"candidate": rank, **candidate.row} for rank, candidate in enumerate(self.candidates)]
        return pl.DataFrame(rows, infer_schema_length=None)


@dataclass(frozen=True)
class Fitted:
    """What was fitted.

    Attributes
    ----------
    units
        By series, or :data:`ALL`; models were fitted on scaled features.
    failed
        Units that no candidate could be fitted to, and why.
    train_start, train_end
        The first and the last row that the parameters have seen.
    """

    units: dict[str, FittedUnit]
    failed: dict[str, str]
    scaling: Scaling
    criterion: str
    train_start: datetime
    train_end: datetime

    @property
    def keys(self) -> list[str]:
        """The candidates' names in the store of finished fits."""
        return [candidate.key for unit in self.units.values() for candidate in unit.candidates]

    def ranking(self) -> pl.DataFrame:
        """All units' rankings, one below the other."""
        tables = [
            unit.ranking if name == ALL else unit.ranking.select(pl.lit(name).alias("series_id"), pl.all())
            for name, unit in self.units.items()
        ]
        return pl.concat(tables, how="diagonal_relaxed")


def fit(validated: Validated, settings: Settings, champions: Mapping[str, Any] | None = None) -> Fitted:
    """Fit all candidates of the configuration; ``champions`` (by unit) are warm starts for those of their kind.

    Raises ``FitError`` if no unit's rows can carry any candidate.
    """
    assert validated.train_start is not None
    assert validated.train_end is not None
    training = validated.rows.filter("trains")
    scaling = fit_scaling(training, validated.value_columns, settings.fit.scale)
    units, failed = {}, {}
    groups = unit_rows(training, settings.fit.pool)
    for done, (name, rows) in enumerate(groups.items()):
        try:
            units[name] = _fit_unit(name, rows, scaling, settings, (champions or {}).get(name), (done, len(groups)))
        except (ValueError, MemoryError) as error:
            failed[name] = str(error)
    if not units:
        raise FitError(f"the candidates cannot be fitted: {next(iter(failed.values()))}")
    return Fitted(units, failed, scaling, settings.select.criterion, validated.train_start, validated.train_end)


fit_task = task(name="fit", cache_policy=NO_CACHE)(fit)


def unit_rows(rows: pl.DataFrame, pool: str) -> dict[str, pl.DataFrame]:
    """The rows of each unit that shares a model."""
    if pool == "pooled":
        return {ALL: rows}
    return {str(name): part for (name,), part in rows.group_by("series_id", maintain_order=True)}


def _fit_unit(
    name: str, rows: pl.DataFrame, scaling: Scaling, settings: Settings, champion: Any, place: tuple[int, int]
) -> FittedUnit:
    estimators, criterion = candidates(settings), settings.select.criterion
    values, lengths, store = scaling.apply(rows), series_lengths(rows), Store.of(settings)
    fitted = []
    for i, estimator in enumerate(estimators):
        label = ", ".join(str(value) for value in estimator.describe().values())
        say("fit", place[0] * len(estimators) + i, place[1] * len(estimators), f"{name} {label}".strip())
        fitted.append(fit_candidate(estimator, values, lengths, criterion, champion, store))
    if all(candidate.model is None for candidate in fitted):
        raise ValueError(fitted[-1].row["warnings"].removeprefix("failed: "))
    sign = -1.0 if CRITERIA[criterion].best_is == "highest" else 1.0
    return FittedUnit(sorted(fitted, key=lambda c: (c.model is None, sign * c.row.get(criterion, 0.0))))


def candidates(settings: Settings) -> list[Any]:
    """Unfitted estimators: every combination of the configuration's lists."""
    model, how = settings.model, settings.fit
    return [
        hsmm.HSMM(
            n_states=n_states,
            emission=emission,
            duration=duration,
            initial=model.initial,
            max_duration=model.max_duration,
            min_duration=model.min_duration,
            n_init=how.n_init,
            max_iter=how.max_iter,
            tol=how.tol,
            random_state=how.seed,
            device=how.device,
        )
        for n_states, emission, duration in product(model.n_states, model.emission, model.duration)
    ]


def check_candidates(settings: Settings) -> None:
    """Raises ``ConfigurationError`` if a candidate could be fitted to no data."""
    try:
        for estimator in candidates(settings):
            estimator.check_options()
    except ValueError as error:
        raise ConfigurationError(f"model or fit: {error}") from None


def series_lengths(rows: pl.DataFrame) -> list[int]:
    """Rows of each series, in order."""
    return rows.group_by("series_id", maintain_order=True).len()["len"].to_list()
