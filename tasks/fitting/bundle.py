"""The models in force with what they need to be used: folders of numbers and names, nothing executable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import hsmm
from hsmm import Estimator
from tasks.config.errors import ModelError
from tasks.fitting.bundle_files import as_list, check_ids, check_units, read_json, read_scaling, write_json
from tasks.fitting.scaling import Scaling

MANIFEST, CANARY = "bundle.json", "canary.json"
FORMAT = 3
ALL = ""  # the unit of a model of all series; otherwise a unit is a series
_MOST_MEMBERS = 100_000
_CANARY_ROWS = 50
_CANARY_CELLS = 200_000
_UNUSABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    MemoryError,
    RuntimeError,
    pl.exceptions.PolarsError,
)


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

    model: Estimator
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
        "context": bundle.scaling.context,
        "statistics": bundle.scaling.statistics.to_dicts(),
        "absent": sorted(bundle.scaling.absent),
        "members": members,
    }
    write_json(folder / MANIFEST, description)
    return folder


def add_canary(bundle: Bundle, folder: Path, rows: pl.DataFrame) -> None:
    """Write beside a saved bundle the last rows of one series of each member and what they decode to."""
    canaries, n_rows = [], max(1, min(_CANARY_ROWS, _CANARY_CELLS // (len(bundle.members) * _width(bundle))))
    for unit, member in bundle.members.items():
        known = rows.filter(bundle.scaling.knows() & pl.any_horizontal(pl.col(bundle.scaling.columns).is_not_null()))
        series = unit or known["series_id"].first()
        shown = bundle.scaling.given(known.filter(pl.col("series_id") == series).tail(n_rows), member.model)
        values, context = shown["X"], shown["context"]
        decoded = member.model.filter_proba(**shown) if len(values) else np.empty((0, len(member.ids)))
        canary = {"values": _with_null(values), "decoded": decoded.tolist(), "ids": list(member.ids)}
        canaries.append(canary if context is None else {**canary, "context": context.tolist()})
    write_json(folder / CANARY, canaries)


def check_canary(bundle: Bundle, folder: Path) -> None:
    """Raises ``ModelError`` unless every member decodes its canary as it did when it was saved."""
    try:
        canaries = read_json(folder / CANARY)
        if not any(canary["values"] for canary in canaries):
            raise ValueError(f"{CANARY} holds no rows")
        for member, canary in zip(bundle.members.values(), canaries, strict=True):
            if canary["ids"] != list(member.ids):
                raise ValueError("its states bear other ids than when it was saved")
            if len(canary["values"]) > _CANARY_ROWS:
                raise ValueError(f"{CANARY} holds more than {_CANARY_ROWS} rows of a series")
            values = np.array(canary["values"], dtype=np.float64).reshape(-1, len(bundle.scaling.columns))
            decoded = member.model.filter_proba(values, context=canary.get("context")) if len(values) else values
            if len(values) and not np.allclose(decoded, canary["decoded"], rtol=0, atol=1e-9):
                raise ValueError("its canary decodes to other probabilities than when it was saved")
    except _UNUSABLE as error:
        raise ModelError(f"the model in {str(folder)!r} cannot be promoted: {_reason(error)}.") from error


def _width(bundle: Bundle) -> int:
    return len(bundle.scaling.columns) + max(len(member.ids) for member in bundle.members.values())


def _with_null(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(cell) else float(cell) for cell in row] for row in values]


def load_bundle(folder: Path) -> Bundle:
    """The bundle that :func:`save_bundle` wrote; raises ``ModelError`` for anything else."""
    try:
        return _read(folder)
    except _UNUSABLE as error:
        raise ModelError(f"the model in {str(folder)!r} cannot be used: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def _read(folder: Path) -> Bundle:
    description = read_json(folder / MANIFEST)
    entries = as_list(description, "members")
    if description.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} has format {description.get('format')!r:.60}; expected {FORMAT}")
    if not 0 < len(entries) <= _MOST_MEMBERS:
        raise ValueError(f"{MANIFEST} names {len(entries)} models")
    scaling = read_scaling(*(description.get(name) for name in ("columns", "statistics", "context", "absent")))
    units = [entry.get("unit") for entry in entries]
    check_units(units, scaling, ALL)
    members = [_member(folder / f"{i:05d}", entry, len(scaling.columns)) for i, entry in enumerate(entries)]
    return Bundle(dict(zip(map(str, units), members, strict=True)), scaling)


def _member(folder: Path, entry: Mapping[str, Any], n_features: int) -> Member:
    if folder.is_symlink():
        raise ValueError(f"{folder.name} is a link")
    model = hsmm.load(folder)
    if not isinstance(model, Estimator):
        raise ValueError(f"{folder.name} is a {type(model).__name__}; expected an HMM or an HSMM")
    if (found := getattr(model, "n_features_in_", None)) != n_features:
        raise ValueError(f"{folder.name} is a model of {found} features; expected {n_features}")
    ids, version = check_ids(entry["ids"], entry["next_id"], model.n_states), entry["version"]
    if version is not None and (type(version) is not int or version < 1):
        raise ValueError(f"{folder.name} has the version {version!r:.20}")
    start, end = (datetime.fromisoformat(entry[name]) for name in ("train_start", "train_end"))
    if start.tzinfo is None or end.tzinfo is None or end < start:
        raise ValueError(f"{folder.name} was trained from {start} to {end}")
    return Member(model, ids, entry["next_id"], version, start, end)
