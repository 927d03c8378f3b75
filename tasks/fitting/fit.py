"""Fit every candidate to the training rows, of all series together or of each by itself, and rank them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm import Estimator
from hsmm.selection.ranking import chosen_first, ranked, with_errors
from tasks.config.errors import FitError
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL
from tasks.fitting.candidates import candidates
from tasks.fitting.finished import FittedCandidate, Rows, Store, Weighing, fit_candidate
from tasks.fitting.scaling import Scaling, scaling_for
from tasks.source.validate import KNOWN, Validated
from tasks.source.wild import without_far


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


def fit(validated: Validated, settings: Settings, champions: Mapping[str, Estimator] | None = None) -> Fitted:
    """Fit all candidates of the configuration; ``champions`` (by unit) are warm starts for those of their kind.

    Raises ``FitError`` if no unit's rows can carry any candidate.
    """
    assert validated.train_start is not None
    assert validated.train_end is not None
    training = validated.rows.filter("trains")
    scaling = scaling_for(training, settings)
    units, failed = {}, {}
    groups = unit_rows(without_far(training, settings), settings.fit.pool)
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
    name: str,
    rows: pl.DataFrame,
    scaling: Scaling,
    settings: Settings,
    champion: Estimator | None,
    place: tuple[int, int],
) -> FittedUnit:
    wanted, fitted = candidates(settings), list[FittedCandidate]()
    store, how = Store.of(settings), Weighing.of(settings)
    for i, candidate in enumerate(wanted):
        text = ", ".join(str(value) for value in candidate.described.values())
        say("fit", place[0] * len(wanted) + i, place[1] * len(wanted), f"{name} {text}".strip())
        given = Rows(**scaling.given(rows, candidate.estimator), states=known_states(rows))
        fitted.append(fit_candidate(candidate, given, how, champion, store))
    if all(candidate.model is None for candidate in fitted):
        raise ValueError(fitted[-1].row["warnings"].removeprefix("failed: "))
    return FittedUnit([fitted[place] for place in _order(fitted, settings)])


def _order(fitted: list[FittedCandidate], settings: Settings) -> list[int]:
    """The candidates' places, the chosen one first and those without a score last."""
    criterion, rule = settings.select.criterion, settings.select.rule
    scores = [candidate.held_out for candidate in fitted]
    pieces = [len(score.n_rows) for score in scores if score is not None]
    if rule != "best" and max(pieces, default=0) < 2:
        raise ValueError(
            f"select.rule = {rule!r} needs two held-out pieces at least, a series in a fold each; found "
            f'{max(pieces, default=0)}. Set select.splits, such as {{ name = "forward_chaining", n_splits = 4 }}.'
        )
    rows = [{criterion: None, **candidate.row, "candidate": i} for i, candidate in enumerate(fitted)]
    table = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col(criterion).cast(pl.Float64))
    table = ranked(table, criterion)
    if rule != "best":
        table = chosen_first(with_errors(table, scores), cast(Any, rule))
    return table["candidate"].to_list()


def known_states(rows: pl.DataFrame) -> list[int] | None:
    """The states that are known, -1 where they are not; None where the source says nothing of them."""
    return rows[KNOWN].fill_null(-1).to_list() if KNOWN in rows.columns else None
