"""Log a run: the data it was fitted on, its table of results, the registered model; of few models, nested runs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm.selection import CRITERIA
from tasks.config.errors import TrackingError
from tasks.config.outcome import RunSummary
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.config.telling import told_gate, told_in_a_line
from tasks.fitting.bundle import add_canary, save_bundle
from tasks.fitting.candidates import naming
from tasks.fitting.fit import Fitted, FittedUnit
from tasks.fitting.reading import add_reading
from tasks.judgement.judge import Judged, all_codes
from tasks.registry.client import FOLLOWED, LINEAGE, SERVED_MODEL, TABLE, Registry
from tasks.registry.requirements import requirements
from tasks.source.ingest import example
from tasks.source.run_key import code_version, data_digest
from tasks.source.validate import Validated
from tasks.tracking.results import spread

_NOTHING_LOST = "What was fitted is kept: the same run, made again, goes on from there."
_LONGEST_TAG = 5000
RESULTS = "results.parquet"
"""The artifact of a run that holds its table of results."""
_COUNTS = ("n_series", "n_published", "n_held", "n_stale", "n_quarantined")
_OVER_NIGHTS = {"improvement": "improvement", "margin": "margin", "share": "smallest_share", "held_out": "held_out"}
_UNLOGGED: dict[str, Any] = {"tracking": True, "alerts": {"hook": True}}


@dataclass(frozen=True)
class TrackedRun:
    """An open run on the tracking server."""

    registry: Registry
    run_id: str


@contextmanager
def tracked_run(settings: Settings, validated: Validated, key: str) -> Iterator[TrackedRun]:
    """A run that is open within this context and ends FINISHED, or FAILED if an exception leaves it.

    One that cannot be closed once all is done stays open; the next run closes it.
    """
    say("track")
    try:
        registry = Registry(settings.tracking.uri, settings.name)
        registry.close_stopped(key)
    except TrackingError as error:
        raise TrackingError(f"{error} {_NOTHING_LOST}") from error
    tags = {"run_key": key, "as_of": validated.as_of.isoformat(), "code_version": code_version()}
    run_id = registry.start_run(f"{settings.name} {settings.source.told(validated.as_of)}", tags)
    try:
        yield TrackedRun(registry, run_id)
    except BaseException as error:
        with suppress(TrackingError):
            registry.end_run(run_id, "FAILED")
        if isinstance(error, TrackingError):
            raise TrackingError(f"{error} {_NOTHING_LOST}") from error
        raise
    with suppress(TrackingError):
        registry.end_run(run_id)


def track(
    run: TrackedRun,
    fitted: Fitted,
    judged: Judged,
    validated: Validated,
    settings: Settings,
    key: str,
    lineage: str,
    found: pl.DataFrame,
) -> int:
    """Log data, settings, what was ``found`` (the table of results), verdict and models.

    Returns the version under which the models are registered.
    """
    registry, run_id = run.registry, run.run_id
    digest = data_digest(validated)
    schema = json.dumps({name: str(dtype) for name, dtype in validated.rows.schema.items()})
    profile = json.dumps({"num_rows": len(validated.rows), "num_series": validated.rows["series_id"].n_unique()})
    registry.log_dataset(run_id, settings.name, digest, settings.source.path, schema, profile)
    tags = {"data_digest": digest, "device": fitted.device}
    registry.log(run_id, _flat(settings.model_dump(mode="json", exclude=_UNLOGGED)), {}, {}, tags)
    if len(fitted.units) <= settings.tracking.nested_up_to:
        for unit, fits in fitted.units.items():
            _log_candidates(run, unit, fits)
    if len(fitted.units) == 1:
        (fits,) = fitted.units.values()
        registry.log(run_id, _prefixed("best", naming(fits.best.row)), _numbers(fits.best.row), fits.best.curves)
    else:
        each = fitted.seconds / len(fitted.units)
        registry.log(run_id, {}, {**spread(found), "fit_seconds": fitted.seconds, "fit_seconds.each": each})
    _log_results(run, found)
    registry.log_text(run_id, json.dumps(judged.summary(), indent=1), "gate.json")
    if len(judged.decisions) == 1:
        (decision,) = judged.decisions.values()
        passed = _prefixed("gate.passed", {code: float(passes) for code, passes in decision.passed.items()})
        numbers = {name: float(value) for name, value in decision.evidence.items() if isinstance(value, int | float)}
        registry.log(run_id, {}, passed | _prefixed("gate", numbers))
    return _register(run, judged, validated, settings, key, lineage, _described(fitted, judged, validated, settings))


def _log_results(run: TrackedRun, found: pl.DataFrame) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS
        found.write_parquet(path)
        run.registry.log_files(run.run_id, [path])


def _described(fitted: Fitted, judged: Judged, validated: Validated, settings: Settings) -> str:
    """What a version is, for whoever looks through the versions."""
    laws = {_law(naming(unit.best.row)) for unit in fitted.units.values()}
    n_series = validated.rows["series_id"].n_unique()
    law = next(iter(laws)) if len(laws) == 1 else f"{len(fitted.units)} models of {len(laws)} kinds"
    start, end = (settings.source.told(moment) for moment in (fitted.train_start, fitted.train_end))
    gate = told_gate(judged.summary()["gate"])
    return f"{law}; trained on {n_series} series from {start} to {end}. The gate said {gate}."


def _law(names: dict[str, Any]) -> str:
    return ", ".join(f"{name} states" if key == "n_states" else str(name) for key, name in names.items())


track_task = task(name="track", cache_policy=NO_CACHE)(track)


def log_outcome(run: TrackedRun, summary: RunSummary, files: Sequence[Path]) -> None:
    """What became of the run, its pictures and its page; and its step of the line over nights."""
    counts = {name: float(value) for name, value in summary.items() if name in _COUNTS and isinstance(value, int)}
    tags = {"verdict": str(summary["verdict"]), "gate": str(summary["gate"]["verdict"])}
    run.registry.log(run.run_id, {}, counts, tags=tags)
    run.registry.describe_run(run.run_id, told_in_a_line(summary))
    evidence = summary["gate"]["evidence"]
    found = {name: evidence.get(key) for name, key in _OVER_NIGHTS.items()}
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
    run.registry.log_night(summary["lineage"], datetime.fromisoformat(summary["as_of"]), counts | numbers)
    run.registry.log_files(run.run_id, files, "report")


def _log_candidates(run: TrackedRun, unit: str, fits: FittedUnit) -> None:
    for rank, candidate in enumerate(fits.candidates, start=1):
        say("track", rank - 1, len(fits.candidates))
        row = candidate.row
        label = " ".join([unit, *map(str, naming(row).values())]).strip()
        tags = {"rank": str(rank), "warnings": row["warnings"], **({"series": unit} if unit else {})}
        child = run.registry.start_run(label, tags, parent=run.run_id)
        run.registry.log(child, naming(row), _numbers(row), candidate.curves)
        run.registry.end_run(child)


def _register(
    run: TrackedRun,
    judged: Judged,
    validated: Validated,
    settings: Settings,
    key: str,
    lineage: str,
    description: str,
) -> int:
    """The version of this run's models; a run that was killed after it had registered them finds its own again."""
    known = _registered(run.registry, settings.name, key)
    if known:
        return known[0]
    gate = judged.summary()["gate"]
    tags = {
        "run_key": key,
        "as_of": validated.as_of.isoformat(),
        "verdict": judged.verdict,
        "reasons": _short(gate["reasons"], all_codes(gate["reasons"])),
        "evidence": _short(gate["evidence"], "see gate.json"),
        FOLLOWED: str(judged.champion or ""),
        LINEAGE: lineage,
        TABLE: settings.output.states,
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_bundle(judged.registered, Path(folder) / "bundle")
        add_reading(settings, bundle)
        if judged.verdict == "PROMOTE":
            add_canary(judged.registered, bundle, validated.rows)
        scaling = judged.registered.scaling
        columns = [*scaling.columns, *scaling.context]
        made = run.registry.register_model(
            run.run_id,
            settings.name,
            bundle,
            SERVED_MODEL,
            columns,
            requirements(),
            tags,
            description,
            example(settings),
        )
    return _first_of_its_key(run.registry, settings.name, made, key)


def _short(told: Any, otherwise: Any) -> str:
    """As JSON, if that fits into a tag."""
    text = json.dumps(told)
    return text if len(text) <= _LONGEST_TAG else json.dumps(otherwise)


def _registered(registry: Registry, name: str, key: str) -> list[int]:
    return [version.number for version in registry.versions(name) if version.tags.get("run_key") == key]


def _first_of_its_key(registry: Registry, name: str, made: int, key: str) -> int:
    """Of two runs of one key that register at once, both use the version that came first, and the other goes."""
    first = _registered(registry, name, key)[0]
    if first < made:
        registry.delete_version(name, made)
    return first


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    keys = (*CRITERIA, "log_likelihood", "n_parameters", "n_iter", "converged")
    return {key: float(row[key]) for key in keys if row.get(key) is not None}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return {key: value for key, value in leaves.items() if value is not None}


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in values.items()}
