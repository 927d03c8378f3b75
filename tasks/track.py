"""Log a run: one parent, a nested run for every candidate, the data it was fitted on, the registered model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bundle import save_bundle
from tasks.fit import Fitted
from tasks.progress import say
from tasks.registry import Registry
from tasks.run_key import code_version, data_digest
from tasks.settings import Settings
from tasks.validate import Validated

_CRITERIA = ("aic", "bic", "hqc", "icl", "held_out")
_SERVING = ("hsmm-flows", "mlflow", "torch", "numpy", "polars", "safetensors")


@dataclass(frozen=True)
class TrackedRun:
    """An open run on the tracking server."""

    registry: Registry
    run_id: str


@contextmanager
def tracked_run(settings: Settings, validated: Validated, key: str) -> Iterator[TrackedRun]:
    """A run that is open within this context and ends FINISHED, or FAILED if an exception leaves it."""
    say("track")
    registry = Registry(settings.tracking.uri, settings.name)
    tags = {"run_key": key, "as_of": validated.as_of.isoformat(), "code_version": code_version()}
    run_id = registry.start_run(f"{settings.name} {validated.as_of:%Y-%m-%d}", tags)
    try:
        yield TrackedRun(registry, run_id)
    except BaseException:
        registry.end_run(run_id, "FAILED")
        raise
    registry.end_run(run_id)


def track(run: TrackedRun, fitted: Fitted, validated: Validated, settings: Settings) -> int:
    """Log data, settings, candidates and the best model; returns the version under which it is registered."""
    registry, run_id = run.registry, run.run_id
    digest = data_digest(validated)
    schema = json.dumps({name: str(dtype) for name, dtype in validated.rows.schema.items()})
    profile = json.dumps({"num_rows": len(validated.rows), "num_series": validated.rows["series_id"].n_unique()})
    registry.log_dataset(run_id, settings.name, digest, settings.source.path, schema, profile)
    _log_candidates(run, fitted)
    best = fitted.ranking.row(0, named=True)
    params = {**_flat(settings.model_dump(mode="json", exclude={"tracking"})), **_prefixed("best", _description(best))}
    registry.log(run_id, params, _numbers(best), {"objective": fitted.best.history_}, {"data_digest": digest})
    registry.log_text(run_id, fitted.ranking.write_csv(), "ranking.csv")
    return _register(run, fitted, settings)


track_task = task(name="track", cache_policy=NO_CACHE)(track)


def log_verdict(run: TrackedRun, verdict: str, n_published: int, n_quarantined: int, pictures: list[Path]) -> None:
    """What became of the run, and its pictures."""
    counts = {"n_published": float(n_published), "n_quarantined": float(n_quarantined)}
    run.registry.log(run.run_id, {}, counts, tags={"verdict": verdict})
    run.registry.log_files(run.run_id, pictures, "pictures")


def _log_candidates(run: TrackedRun, fitted: Fitted) -> None:
    for done, row in enumerate(fitted.ranking.iter_rows(named=True)):
        say("track", done, len(fitted.ranking))
        label = f"{row['n_states']} {row['emission']} {row['duration']}"
        child = run.registry.start_run(label, {"rank": str(done + 1), "warnings": row["warnings"]}, parent=run.run_id)
        model = fitted.models[row["candidate"]]
        curve = {} if model is None else {"objective": model.history_}
        run.registry.log(child, _description(row), _numbers(row), curve)
        run.registry.end_run(child)


def _register(run: TrackedRun, fitted: Fitted, settings: Settings) -> int:
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_bundle(fitted, Path(folder) / "bundle")
        code = Path(__file__).with_name("served_model.py")
        columns = fitted.scaling.columns
        return run.registry.register_model(run.run_id, settings.name, bundle, code, columns, _requirements())


def _requirements() -> list[str]:
    found = []
    for package in _SERVING:
        try:
            found.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return found


def _description(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("n_states", "emission", "duration")}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    keys = (*_CRITERIA, "log_likelihood", "n_parameters", "n_iter", "converged")
    return {key: float(row[key]) for key in keys if row[key] is not None}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return {key: value for key, value in leaves.items() if value is not None}


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in values.items()}
