"""What makes two runs the same: configuration, rows, ``as_of`` and code; never file names or clocks."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

import numpy as np
import polars as pl

from tasks.config.settings import Settings
from tasks.source.validate import KNOWN, Validated
from tasks.source.version import code_version

_NO_MATTER = {
    "source": {"path", "query", "version"},
    "fit": {"device"},
    "run": True,
    "output": True,
    "tracking": True,
    "alerts": True,
}


def data_digest(validated: Validated) -> str:
    """SHA-256 of the rows that a model may see: series, times and features to the last bit."""
    rows, digest = validated.rows, hashlib.sha256()
    lengths = rows.group_by("series_id", maintain_order=True).len()
    others = [*validated.context_columns, *([KNOWN] if KNOWN in rows.columns else [])]
    digest.update(json.dumps([validated.value_columns, *([others] if others else []), lengths.rows()]).encode())
    digest.update(rows["time"].dt.epoch("us").to_numpy().astype("<i8").tobytes())
    digest.update(feature_matrix(rows, validated.value_columns + others).astype("<f8").tobytes())
    return digest.hexdigest()


def run_key(settings: Settings, validated: Validated) -> str:
    """The key under which this run's rows are published."""
    identity = {
        "settings": settings.model_dump(mode="json", exclude=_NO_MATTER),  # type: ignore[arg-type]
        "data": data_digest(validated),
        "as_of": validated.as_of.isoformat(),
        "code": code_version(),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def decode_key(settings: Settings, validated: Validated, version: int, since: datetime | None = None) -> str:
    """The key of a run that decodes with a registered version (all rows, or those ``since`` then) and fits nothing."""
    what = "decode" if since is None else f"decode since {since.isoformat()}"
    return hashlib.sha256(f"{what} {version} {run_key(settings, validated)}".encode()).hexdigest()


def feature_matrix(rows: pl.DataFrame, columns: list[str]) -> np.ndarray:
    """The features as doubles (n_rows, n_features); missing values are one and the same NaN."""
    if not columns:
        return np.empty((len(rows), 0))
    matrix = np.column_stack([rows[name].cast(pl.Float64).to_numpy() for name in columns])
    return np.where(np.isnan(matrix), np.nan, matrix) + 0.0
