"""What a run says of itself when it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.fit import Fitted
from tasks.settings import Settings
from tasks.storage import is_local
from tasks.validate import Validated


def report_folder(settings: Settings, key: str) -> Path:
    """Where a run's pictures go: beside the state table, or under ``out`` if that is not on this machine."""
    states = settings.output.states
    base = states.rstrip("/") if is_local(states) else f"out/{settings.name}"
    return Path(f"{base}_report") / key[:16]


def describe_input(settings: Settings, validated: Validated, key: str) -> dict[str, Any]:
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
        "n_quarantined": n_quarantined,
        "best": None,
    }


def describe_best(fitted: Fitted) -> dict[str, Any]:
    """The chosen candidate and what it was chosen by."""
    best = fitted.ranking.row(0, named=True)
    return {
        "n_states": best["n_states"],
        "emission": best["emission"],
        "duration": best["duration"],
        "criterion": fitted.criterion,
        "score": best[fitted.criterion],
        "log_likelihood": best["log_likelihood"],
    }
