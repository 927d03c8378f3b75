"""Fit every candidate to the training rows of all series together and choose one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

import hsmm
from tasks.errors import ConfigurationError, FitError
from tasks.progress import say
from tasks.scaling import Scaling, fit_scaling
from tasks.settings import Settings
from tasks.validate import Validated


@dataclass(frozen=True)
class Fitted:
    """The candidates, ranked, with all that is needed to use the best of them.

    Attributes
    ----------
    ranking
        One row a candidate, best first; ``candidate`` indexes ``models``.
    best
        The fitted estimator at the head of the ranking; it was fitted on scaled features.
    train_start, train_end
        The first and the last row that the parameters have seen.
    """

    ranking: pl.DataFrame
    models: list[Any]
    best: Any
    scaling: Scaling
    criterion: str
    train_start: datetime
    train_end: datetime


def fit(validated: Validated, settings: Settings) -> Fitted:
    """Fit all candidates of the configuration. Raises ``FitError`` if these rows cannot carry them."""
    assert validated.train_start is not None
    assert validated.train_end is not None
    training = validated.rows.filter("trains")
    scaling = fit_scaling(training, validated.value_columns, settings.fit.scale)
    try:
        selection = hsmm.select_model(
            scaling.apply(training),
            candidates(settings),
            series_lengths(training),
            criterion=settings.select.criterion,
            progress=lambda done, total, label: say("fit", done, total, label),
        )
    except (ValueError, MemoryError) as error:
        raise FitError(f"the candidates cannot be fitted: {error}") from error
    return Fitted(
        ranking=selection.table,
        models=selection.models,
        best=selection.best,
        scaling=scaling,
        criterion=settings.select.criterion,
        train_start=validated.train_start,
        train_end=validated.train_end,
    )


fit_task = task(name="fit", cache_policy=NO_CACHE)(fit)


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
