"""Shards of a night with a model for each series: pieces of work that are fitted and examined wherever there is room.

A shard is a folder. What it needs is written there before, what comes of it lies there after; both are found again by
the run that goes on where another was stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import hsmm
from tasks.config.errors import FitError
from tasks.config.settings import Settings
from tasks.config.whole import appearing
from tasks.fitting.bundle import ALL, Bundle, load_bundle, save_bundle
from tasks.fitting.finished import FittedCandidate, Store
from tasks.fitting.fit import FittedUnit, SeriesRows, fit_units
from tasks.fitting.scaling import Scaling
from tasks.fitting.slot import gpu_slot
from tasks.judgement.champion import Champion, jumped_inputs
from tasks.judgement.gate import Decision, examined
from tasks.judgement.judge import case_of
from tasks.source.validate import Validated
from tasks.source.wild import without_far

_ROWS, _STATISTICS, _CHAMPION, _WORDS = "rows.parquet", "statistics.parquet", "champion", "shard.json"
_FITTED, _MODELS, _FITS = "fitted", "models", "fits.json"


@dataclass(frozen=True)
class FinishedShard:
    """How many series of a shard have a model, how many none, and the seconds that their fits took."""

    n_models: int
    n_failed: int
    seconds: float


def fit_shard(settings: Settings, folder: str) -> FinishedShard:
    """Fit and examine the series of the shard in ``folder``, unless that is done.

    It reads and writes nothing else, and asks no service: any process that sees the folder may run it, twice if need
    be. Models appear beside the rows, whole or not at all.
    """
    place = Path(folder)
    if not is_fitted(folder):
        with gpu_slot(settings.fit.device), appearing(place / _FITTED, keep=True) as made:
            _fit(settings, place, made)
    fits = _read_words(place / _FITTED / _FITS)
    return FinishedShard(len(fits["units"]), len(fits["failed"]), fits["seconds"])


fit_shard_task = task(name="fit", cache_policy=NO_CACHE)(fit_shard)


def fit_shards(settings: Settings, folders: Sequence[str]) -> None:
    """:func:`fit_shard` for several, a piece of a worker's work; raises ``FitError`` for one that it cannot see."""
    for folder in folders:
        if not Path(folder).is_dir():
            raise FitError(
                f"run.runner: a worker does not see {folder!r}; expected a file system that all of them share."
            )
        fit_shard(settings, folder)


fit_shards_task = task(name="fit shards", cache_policy=NO_CACHE)(fit_shards)


def use_threads(n_threads: int) -> None:
    """Let this process fit with so many from now on."""
    torch.set_num_threads(n_threads)


def is_fitted(folder: str) -> bool:
    """Whether what comes of a shard is there."""
    return (Path(folder) / _FITTED).is_dir()


@dataclass(frozen=True)
class Shards:
    """What the shards of one night came to: as one fit would have, and the gate's word on each model by itself."""

    units: dict[str, FittedUnit]
    failed: dict[str, str]
    examined: dict[str, Decision]
    seconds: float


def series_of_shards(validated: Validated, settings: Settings) -> list[list[str]]:
    """The series of each shard, in their order; one shard of all where they share a model."""
    series = validated.rows["series_id"].unique(maintain_order=True).to_list()
    if settings.fit.pool != "per_series" or len(series) <= settings.run.shard_series:
        return [series]
    return [series[i : i + settings.run.shard_series] for i in range(0, len(series), settings.run.shard_series)]


def rows_of_shards(rows: pl.DataFrame, shards: Sequence[Sequence[str]]) -> Iterator[pl.DataFrame]:
    """The rows of each shard, by series and time; views of ``rows``, which are sorted so."""
    if len(shards) == 1:
        yield rows
        return
    ends = [rows["series_id"].search_sorted(series[-1], "right") if series else 0 for series in shards]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield rows[start:end]


def write_shards(
    validated: Validated,
    settings: Settings,
    shards: Sequence[Sequence[str]],
    scaling: Scaling,
    champion: Champion | None,
    key: str,
) -> list[str]:
    """Lay out the shards of the night of this ``key`` in the store of finished fits; their folders."""
    store, jumped = Store.of(settings), frozenset(jumped_inputs(champion, validated, settings)["series_id"])
    folders = []
    for series, rows in zip(shards, rows_of_shards(validated.rows, shards), strict=True):
        words = {"jumped": sorted(jumped.intersection(series)), "champion": _words_of(champion)}
        identity = [key, settings.fit.device, series, words]
        place = store.folder / hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        folders.append(str(place))
        if place.is_dir():
            continue
        with appearing(place, keep=True) as made:
            made.mkdir()
            rows.write_parquet(made / _ROWS)
            scaling.of_series(series).statistics.write_parquet(made / _STATISTICS)
            if champion is not None and (own := _own(champion.bundle, series)) is not None:
                save_bundle(own, made / _CHAMPION)
            said = {**words, "columns": scaling.columns, "context": scaling.context}
            (made / _WORDS).write_text(json.dumps(said))
    return folders


def read_shards(folders: Sequence[str]) -> Shards:
    """What :func:`fit_shard` left in these folders."""
    units, failed, decisions = dict[str, FittedUnit](), dict[str, str](), dict[str, Decision]()
    seconds = 0.0
    for folder in folders:
        place = Path(folder) / _FITTED
        models, fits = hsmm.load_models(place / _MODELS), _read_words(place / _FITS)
        for unit, rows in fits["units"].items():
            chosen = FittedCandidate(models[unit], rows[0], key=Path(folder).name)
            units[unit] = FittedUnit([chosen, *(FittedCandidate(None, row) for row in rows[1:])])
        failed |= fits["failed"]
        decisions |= {unit: Decision(**said) for unit, said in fits["examined"].items()}
        seconds += fits["seconds"]
    return Shards(units, failed, decisions, seconds)


def _fit(settings: Settings, place: Path, made: Path) -> None:
    words, rows = _read_words(place / _WORDS), pl.read_parquet(place / _ROWS)
    scaling = Scaling(words["columns"], pl.read_parquet(place / _STATISTICS), words["context"])
    champion, jumped = _read_champion(place, words["champion"]), frozenset(words["jumped"])
    began = time.monotonic()
    groups = SeriesRows(without_far(rows.filter("trains"), settings))
    starts = {} if champion is None else champion.starts(settings)
    units, failed = fit_units(groups, scaling, settings, starts, None)
    seconds = time.monotonic() - began
    whole = SeriesRows(rows)
    decisions = {
        unit: examined(case_of(unit, fits.best.model, scaling, whole[unit], champion, jumped, settings.promote))
        for unit, fits in units.items()
        if fits.best.model is not None
    }
    made.mkdir()
    best = {unit: fits.best.model for unit, fits in units.items()}
    hsmm.save_models(made / _MODELS, best)  # type: ignore[arg-type]
    said = {
        "units": {unit: [candidate.row for candidate in fits.candidates] for unit, fits in units.items()},
        "failed": failed,
        "examined": {unit: vars(decision) for unit, decision in decisions.items()},
        "seconds": seconds,
    }
    (made / _FITS).write_text(json.dumps(said))


def _own(bundle: Bundle, series: Sequence[str]) -> Bundle | None:
    """What of a bundle serves these series."""
    members = {unit: bundle.members[unit] for unit in (ALL, *series) if unit in bundle.members}
    return Bundle(members, bundle.scaling.of_series(series)) if members else None


def _words_of(champion: Champion | None) -> dict[str, Any] | None:
    if champion is None:
        return None
    return {
        "version": champion.version,
        "as_of": champion.as_of.isoformat(),
        "is_of_another": champion.is_of_another,
    }


def _read_champion(place: Path, words: Mapping[str, Any] | None) -> Champion | None:
    if words is None or not (place / _CHAMPION).is_dir():
        return None
    as_of = datetime.fromisoformat(words["as_of"])
    return Champion(words["version"], as_of, load_bundle(place / _CHAMPION), words["is_of_another"])


def _read_words(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found
