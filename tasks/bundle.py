"""The models in force with what they need to be used: folders of numbers and names, nothing executable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import hsmm
from tasks.errors import ModelError
from tasks.scaling import Scaling

MANIFEST, CANARY = "bundle.json", "canary.json"
FORMAT = 2
_LARGEST = 1 << 26
_MOST_MEMBERS = 100_000
_CANARY_ROWS = 50


@dataclass(frozen=True)
class Member:
    """A fitted model under persistent names.

    Attributes
    ----------
    model
        The estimator; it was fitted on scaled features.
    ids
        The persistent id of each of its states.
    next_id
        The first id that no state has ever had.
    version
        The registered version that first held this model; None is the version that this bundle becomes.
    train_start, train_end
        The first and the last row that its parameters have seen.
    """

    model: Any
    ids: tuple[int, ...]
    next_id: int
    version: int | None
    train_start: datetime
    train_end: datetime


@dataclass(frozen=True)
class Bundle:
    """What one registered version holds: a model for each unit (all series together, or one), and all scales."""

    members: Mapping[str, Member]
    scaling: Scaling


def save_bundle(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    for i, (unit, member) in enumerate(bundle.members.items()):
        member.model.save(folder / f"{i:05d}")
        members.append(
            {
                "unit": unit,
                "ids": list(member.ids),
                "next_id": member.next_id,
                "version": member.version,
                "train_start": member.train_start.isoformat(),
                "train_end": member.train_end.isoformat(),
            }
        )
    description = {
        "format": FORMAT,
        "columns": bundle.scaling.columns,
        "statistics": bundle.scaling.statistics.to_dicts(),
        "members": members,
    }
    (folder / MANIFEST).write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")
    return folder


def add_canary(bundle: Bundle, folder: Path, rows: pl.DataFrame) -> None:
    """Write beside a saved bundle the last rows of one series of each member and what they decode to."""
    canaries = []
    for unit, member in bundle.members.items():
        known = rows.filter(pl.col("series_id").is_in(bundle.scaling.statistics["series_id"].implode()))
        series = unit or known["series_id"].first()
        values = bundle.scaling.apply(known.filter(pl.col("series_id") == series).tail(_CANARY_ROWS))
        decoded = member.model.filter_proba(values) if len(values) else np.empty((0, len(member.ids)))
        canaries.append({"values": _with_null(values), "decoded": decoded.tolist()})
    (folder / CANARY).write_text(json.dumps(canaries, allow_nan=False) + "\n")


def check_canary(bundle: Bundle, folder: Path) -> None:
    """Raises ``ModelError`` unless every member decodes its canary as it did when it was saved."""
    try:
        if (folder / CANARY).stat().st_size > _LARGEST:
            raise ValueError(f"{CANARY} has more than {_LARGEST} bytes")
        canaries = json.loads((folder / CANARY).read_text())
        for member, canary in zip(bundle.members.values(), canaries, strict=True):
            values = np.array(canary["values"], dtype=np.float64).reshape(-1, len(bundle.scaling.columns))
            if len(values) and not np.allclose(member.model.filter_proba(values), canary["decoded"], rtol=0, atol=1e-9):
                raise ValueError("its canary decodes to other probabilities than when it was saved")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the model in {str(folder)!r} cannot be promoted: {error}.") from error


def _with_null(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(cell) else float(cell) for cell in row] for row in values]


def load_bundle(folder: Path) -> Bundle:
    """The bundle that :func:`save_bundle` wrote; raises ``ModelError`` for anything else."""
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"the model in {str(folder)!r} cannot be used: {reason[0].rstrip('.')}.") from error


def _read(folder: Path) -> Bundle:
    path = folder / MANIFEST
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{MANIFEST} has {path.stat().st_size} bytes; at most {_LARGEST} are read")
    description = json.loads(path.read_text())
    if description["format"] != FORMAT:
        raise ValueError(f"{MANIFEST} has format {description['format']!r}; expected {FORMAT}")
    if not 0 < len(description["members"]) <= _MOST_MEMBERS:
        raise ValueError(f"{MANIFEST} names {len(description['members'])} models")
    members = {
        str(entry["unit"]): _member(folder / f"{i:05d}", entry) for i, entry in enumerate(description["members"])
    }
    columns = [str(column) for column in description["columns"]]
    return Bundle(members, Scaling(columns, pl.DataFrame(description["statistics"])))


def _member(folder: Path, entry: Mapping[str, Any]) -> Member:
    model, ids = hsmm.load(folder), tuple(int(i) for i in entry["ids"])
    if len(ids) != model.n_states or len(set(ids)) < len(ids) or not 0 <= min(ids) <= max(ids) < int(entry["next_id"]):
        raise ValueError(f"the states of {folder.name} have the ids {ids}")
    version = None if entry["version"] is None else int(entry["version"])
    start, end = (datetime.fromisoformat(entry[name]) for name in ("train_start", "train_end"))
    return Member(model, ids, int(entry["next_id"]), version, start, end)
