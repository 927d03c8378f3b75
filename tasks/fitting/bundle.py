"""The models in force with what they need to be used: folders of numbers and names, nothing executable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import hsmm
from hsmm import Estimator
from tasks.config.errors import ModelError
from tasks.fitting.bundle_files import as_list, check_ids, check_units, read_json, read_scaling, write_json
from tasks.fitting.scaling import Scaling

MANIFEST, CANARY, MODELS = "bundle.json", "canary.json", "models"
FORMAT, FOLDERS = 4, 3  # of one file of models, and of a folder for each
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
    held
        The estimator, or what reads it.
    ids
        The persistent id of each of its states.
    next_id
        The first id that no state has ever had.
    version
        The registered version that first held this model; None is the version that this bundle becomes.
    train_start, train_end
        The first and the last row that its parameters have seen.
    """

    held: Estimator | Callable[[], Estimator]
    ids: tuple[int, ...]
    next_id: int
    version: int | None
    train_start: datetime
    train_end: datetime

    @property
    def model(self) -> Estimator:
        """The estimator; it was fitted on scaled features. Raises ``ModelError`` where it cannot be read."""
        return self.held if isinstance(self.held, Estimator) else self.held()


@dataclass(frozen=True)
class Bundle:
    """What one registered version holds: a model for each unit (all series together, or one), and all scales."""

    members: Mapping[str, Member]
    scaling: Scaling


def save_bundle(bundle: Bundle, folder: Path) -> Path:
    """Write a bundle into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    hsmm.save_models(folder / MODELS, {unit: member.model for unit, member in bundle.members.items()})
    members = [
        {
            "unit": unit,
            "ids": list(member.ids),
            "next_id": member.next_id,
            "version": member.version,
            "train_start": member.train_start.isoformat(),
            "train_end": member.train_end.isoformat(),
        }
        for unit, member in bundle.members.items()
    ]
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
    n_rows = max(1, min(_CANARY_ROWS, _CANARY_CELLS // (len(bundle.members) * _width(bundle))))
    known = rows.filter(bundle.scaling.knows() & pl.any_horizontal(pl.col(bundle.scaling.columns).is_not_null()))
    last = {str(series): part.tail(n_rows) for (series,), part in known.group_by("series_id", maintain_order=True)}
    canaries = []
    for unit, member in bundle.members.items():
        model = member.model
        shown = bundle.scaling.given(last.get(unit or next(iter(last)), known.clear()), model)
        values, context = shown["X"], shown["context"]
        decoded = model.filter_proba(**shown) if len(values) else np.empty((0, len(member.ids)))
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
    """The bundle that :func:`save_bundle` wrote; raises ``ModelError`` for anything else.

    Models are read when they are asked for, and what is wrong with one is found then.
    """
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
    if (version := description.get("format")) not in (FORMAT, FOLDERS):
        raise ValueError(f"{MANIFEST} has format {version!r:.60}; expected {FORMAT}, or {FOLDERS} of earlier versions")
    if not 0 < len(entries) <= _MOST_MEMBERS:
        raise ValueError(f"{MANIFEST} names {len(entries)} models")
    scaling = read_scaling(*(description.get(name) for name in ("columns", "statistics", "context", "absent")))
    units = [entry.get("unit") for entry in entries]
    check_units(units, scaling, ALL)
    models = _in_one(folder / MODELS, units) if version == FORMAT else _in_folders(folder, units)
    members = [_member(entry, partial(_read_model, folder, models, entry, len(scaling.columns))) for entry in entries]
    return Bundle(dict(zip(map(str, units), members, strict=True)), scaling)


def _in_one(folder: Path, units: Sequence[Any]) -> Mapping[str, Any]:
    """The models of a bundle, each read when it is asked for."""
    if folder.is_symlink() or any(path.is_symlink() or not path.is_file() for path in folder.iterdir()):
        raise ValueError(f"{folder.name} is a link, or holds other than plain files")
    found = hsmm.load_models(folder)
    if [*found] != list(units):
        raise ValueError(f"{MODELS} holds {len(found)} models that are not those of {MANIFEST}")
    return found


def _in_folders(folder: Path, units: Sequence[Any]) -> Mapping[str, Any]:
    """The models of a bundle of an earlier version."""
    places = {str(unit): folder / f"{i:05d}" for i, unit in enumerate(units)}
    for place in places.values():
        if place.is_symlink():
            raise ValueError(f"{place.name} is a link")
    return {unit: hsmm.load(place) for unit, place in places.items()}


def _read_model(folder: Path, models: Mapping[str, Any], entry: Mapping[str, Any], n_features: int) -> Estimator:
    unit = entry["unit"]
    try:
        model = models[unit]
        if not isinstance(model, Estimator):
            raise ValueError(f"the model of {unit!r} is a {type(model).__name__}; expected an HMM or an HSMM")
        if (found := getattr(model, "n_features_in_", None)) != n_features:
            raise ValueError(f"the model of {unit!r} is one of {found} features; expected {n_features}")
        if model.n_states != len(entry["ids"]):
            raise ValueError(f"the model of {unit!r} has {model.n_states} states; expected {len(entry['ids'])}")
        return model
    except _UNUSABLE as error:
        raise ModelError(f"the model in {str(folder)!r} cannot be used: {_reason(error)}.") from error


def _member(entry: Mapping[str, Any], held: Callable[[], Estimator]) -> Member:
    unit, ids, version = entry["unit"], check_ids(entry["ids"], entry["next_id"]), entry["version"]
    if version is not None and (type(version) is not int or version < 1):
        raise ValueError(f"the model of {unit!r} has the version {version!r:.20}")
    start, end = (datetime.fromisoformat(entry[name]) for name in ("train_start", "train_end"))
    if start.tzinfo is None or end.tzinfo is None or end < start:
        raise ValueError(f"the model of {unit!r} was trained from {start} to {end}")
    return Member(held, ids, entry["next_id"], version, start, end)
