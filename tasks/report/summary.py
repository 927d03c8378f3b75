"""What a run says of itself when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import polars as pl

from tasks.config.outcome import BestCandidate, RunSummary
from tasks.config.settings import Settings
from tasks.fitting.candidates import naming
from tasks.fitting.fit import Fitted
from tasks.judgement.champion import Champion
from tasks.judgement.judge import Judged
from tasks.source.validate import Validated
from tasks.tables.storage import is_local


def report_folder(settings: Settings, key: str) -> Path:
    """Where a run's pictures go: beside the state table, or under ``out`` if that is not on this machine."""
    states = settings.output.states
    base = states.rstrip("/") if is_local(states) else f"out/{settings.name}"
    return Path(f"{base}_report") / key[:16]


def describe_input(settings: Settings, validated: Validated, key: str) -> RunSummary:
    """What is known before anything is fitted."""
    n_quarantined = len(validated.quarantine)
    return {
        "run_key": key,
        "mlflow_run_id": None,
        "model_name": settings.name,
        "model_version": None,
        "verdict": None,
        "states_table": settings.output.states,
        "report": str(report_folder(settings, key)),
        "as_of": validated.as_of.isoformat(),
        "n_series": validated.rows["series_id"].n_unique() + n_quarantined,
        "n_published": 0,
        "n_held": 0,
        "n_quarantined": n_quarantined,
        "best": None,
    }


def describe_outcome(
    fitted: Fitted, judged: Judged, decoded: pl.DataFrame, validated: Validated, run_id: str, version: int
) -> RunSummary:
    """What was fitted and what the gate said of it; n_series = with rows from a new model + held + quarantined."""
    held = decoded.filter(pl.col("status") == "HELD")["series_id"].n_unique()
    return {
        "mlflow_run_id": run_id,
        "model_version": version,
        "best": _best(fitted),
        "n_held": held,
        "n_quarantined": len(validated.quarantine),
        **judged.summary(),
    }


def describe_decoded(champion: Champion, validated: Validated) -> RunSummary:
    """Which model decoded."""
    return {"model_version": champion.version, "n_quarantined": len(validated.quarantine)}


def _best(fitted: Fitted) -> BestCandidate | None:
    """The chosen candidate and what it was chosen by; None where every series has its own."""
    if len(fitted.units) != 1:
        return None
    (unit,) = fitted.units.values()
    row = unit.best.row
    best: BestCandidate = {
        "criterion": fitted.criterion,
        "score": row[fitted.criterion],
        "log_likelihood": row["log_likelihood"],
    }
    return cast(BestCandidate, {**naming(row), **best})
