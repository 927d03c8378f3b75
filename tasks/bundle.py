"""A chosen model with what it needs to be used: the estimator's folder and its feature statistics, never executable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

import hsmm
from tasks.fit import Fitted
from tasks.scaling import Scaling

FEATURES = "features.json"
_LARGEST = 1 << 26


def save_bundle(fitted: Fitted, folder: Path) -> Path:
    """Write the best model and the statistics that its features are scaled by."""
    fitted.best.save(folder)
    description = {
        "columns": fitted.scaling.columns,
        "statistics": fitted.scaling.statistics.to_dicts(),
        "train_start": fitted.train_start.isoformat(),
        "train_end": fitted.train_end.isoformat(),
    }
    (folder / FEATURES).write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")
    return folder


def load_bundle(folder: Path) -> tuple[Any, Scaling]:
    """The estimator and its scaling; raises ``ValueError`` for a folder that :func:`save_bundle` did not write."""
    path = folder / FEATURES
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {_LARGEST} are read.")
    description = json.loads(path.read_text())
    return hsmm.load(folder), Scaling(description["columns"], pl.DataFrame(description["statistics"]))
