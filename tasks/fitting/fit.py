"""Fit every candidate to the training rows, of all series together or of each by itself, and rank them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm import Estimator, PartialPooling
from hsmm.models.devices import device_name
from hsmm.selection.ranking import chosen_first, ranked, with_errors
from hsmm.selection.units import AT_ONCE
from hsmm.training.together import Fitting, together
from tasks.config.errors import FitError
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL
from tasks.fitting.candidates import Candidate, candidates
from tasks.fitting.finished import FittedCandidate, Rows, Store, Weighing, fitting_candidate, testing
from tasks.fitting.scaling import Scaling, scaling_for
from tasks.fitting.sharing import parted
from tasks.fitting.slot import gpu_slot
from tasks.source.validate import KNOWN, Validated
from tasks.source.wild import without_far


@dataclass(frozen=True)
class FittedUnit:
    """The candidates of one unit, best first; those that its rows cannot carry come last, without a model."""

    candidates: list[FittedCandidate]
    shared: PartialPooling | None = None
    """What each series has of its own beside the best, which is that of their group."""

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
    seconds
        How long it took.
    device
        What they were fitted on, by its own name.
    """

    units: dict[str, FittedUnit]
    failed: dict[str, str]
    scaling: Scaling
    criterion: str
    train_start: datetime
    train_end: datetime
    seconds: float
    device: str

    @property
    def keys(self) -> list[str]:
        """The candidates' names in the store of finished fits."""
        return [*dict.fromkeys(candidate.key for unit in self.units.values() for candidate in unit.candidates)]

    def ranking(self) -> pl.DataFrame:
        """All units' rankings, one below the other."""
        rows = [
            {**({} if name == ALL else {"series_id": name}), "candidate": rank, **candidate.row}
            for name, unit in self.units.items()
            for rank, candidate in enumerate(unit.candidates)
        ]
        return pl.DataFrame(rows, infer_schema_length=None)


def fit(validated: Validated, settings: Settings, champions: Mapping[str, Estimator] | None = None) -> Fitted:
    """Fit all candidates of the configuration; ``champions`` (by unit) are warm starts for those of their kind.

    Raises ``FitError`` if no unit's rows can carry any candidate.
    """
    training = training_rows(validated)
    scaling = scaling_for(training, settings)
    groups = unit_rows(without_far(training, settings), settings.fit.pool)
    began = time.monotonic()
    units, failed = fit_units(groups, scaling, settings, champions or {}, Store.of(settings))
    return gathered(units, failed, scaling, validated, settings, time.monotonic() - began)


def training_rows(validated: Validated) -> pl.DataFrame:
    """The rows that parameters may see."""
    return validated.rows.filter("trains")


def fit_units(
    groups: Mapping[str, pl.DataFrame],
    scaling: Scaling,
    settings: Settings,
    champions: Mapping[str, Estimator],
    store: Store | None,
) -> tuple[dict[str, FittedUnit], dict[str, str]]:
    """The candidates of each unit, from its training rows without what is far; and why units have none.

    Each fit goes into the ``store``, or comes from there, if there is one.
    """
    units, failed = dict[str, FittedUnit](), dict[str, str]()
    wanted, names = candidates(settings), list(groups)
    told = partial(_say_fit, iter(range(len(names) * len(wanted))), len(names) * len(wanted))
    for first in range(0, len(names), AT_ONCE):
        chunk = names[first : first + AT_ONCE]
        fittings = [
            _fitting_unit(name, groups[name], scaling, settings, wanted, champions.get(name), told, store)
            for name in chunk
        ]
        for name, found in zip(chunk, together(fittings), strict=True):
            if isinstance(found, FittedUnit):
                units[name] = found
            elif isinstance(found, (ValueError, MemoryError)):
                failed[name] = str(found)
            else:
                raise found
    return units, failed


def gathered(
    units: dict[str, FittedUnit],
    failed: dict[str, str],
    scaling: Scaling,
    validated: Validated,
    settings: Settings,
    seconds: float,
) -> Fitted:
    """What was fitted of all units. Raises ``FitError`` where no unit's rows could carry any candidate."""
    assert validated.train_start is not None
    assert validated.train_end is not None
    if not units:
        raise FitError(f"the candidates cannot be fitted: {next(iter(failed.values()))}")
    device, when = device_name(settings.fit.device), (validated.train_start, validated.train_end)
    return Fitted(units, failed, scaling, settings.select.criterion, *when, seconds, device)


@task(name="fit", cache_policy=NO_CACHE)
def fit_task(validated: Validated, settings: Settings, champions: Mapping[str, Estimator] | None = None) -> Fitted:
    """:func:`fit`, on a GPU when it is this run's turn."""
    with gpu_slot(settings.fit.device):
        return fit(validated, settings, champions)


def unit_rows(rows: pl.DataFrame, pool: str) -> Mapping[str, pl.DataFrame]:
    """The rows of each unit that shares a model."""
    return SeriesRows(rows) if pool == "per_series" else {ALL: rows}


class SeriesRows(Mapping[str, pl.DataFrame]):
    """The rows of each series, which stand together: views of them, made when they are asked for."""

    def __init__(self, rows: pl.DataFrame) -> None:
        runs = rows.select(pl.col("series_id").rle()).unnest("series_id")
        starts = (runs["len"].cast(pl.Int64).cum_sum() - runs["len"]).to_list()
        self._rows, self._places = rows, dict(zip(runs["value"], zip(starts, runs["len"], strict=True), strict=True))

    def __getitem__(self, series: str) -> pl.DataFrame:
        return self._rows.slice(*self._places[series])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _say_fit(places: Iterator[int], n_fits: int, text: str) -> None:
    say("fit", next(places), n_fits, text)


def _fitting_unit(
    name: str,
    rows: pl.DataFrame,
    scaling: Scaling,
    settings: Settings,
    wanted: list[Candidate],
    champion: Estimator | None,
    told: Callable[[str], None],
    store: Store | None,
) -> Fitting[FittedUnit]:
    fitted, how = list[FittedCandidate](), Weighing.of(settings)
    given: dict[bool, Rows] = {}
    for candidate in wanted:
        text = ", ".join(str(value) for value in candidate.described.values())
        told(f"{name} {text}".strip())
        estimator = candidate.estimator
        if estimator.uses_context not in given:
            given[estimator.uses_context] = Rows(**scaling.given(rows, estimator), states=known_states(rows))
        fit = yield from fitting_candidate(candidate, given[estimator.uses_context], how, champion, store)
        fitted.append(fit)
    if all(candidate.model is None for candidate in fitted):
        raise ValueError(fitted[-1].row["warnings"].removeprefix("failed: "))
    best, *others = _order(fitted, settings)
    chosen = fitted[best]
    if how.doubts == "told":
        chosen = yield from testing(chosen, given[wanted[best].estimator.uses_context])
    shared = None
    if settings.fit.pool == "shared":
        chosen, shared = parted(chosen, rows, scaling, known_states(rows), store)
    return FittedUnit([chosen, *(fitted[place] for place in others)], shared)


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
