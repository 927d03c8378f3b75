"""Save and load models: safetensors for numbers, JSON for words; nothing that is read is ever executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.families import KINDS
from hsmm.components.model import Model

FORMAT = 1
MANIFEST, TABLES = "model.json", "model.safetensors"
_LARGEST_MANIFEST = 1 << 20
_LARGEST_TABLES = 1 << 30
_LONGEST_DURATION = 1 << 20
_FLAGS = ("left_censored", "right_censored")


def save_model(folder: str | Path, model: Model, details: Mapping[str, Any]) -> Path:
    """Write a fitted model and JSON-able ``details`` into ``folder``, which is made if need be."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    parts = {kind: getattr(model, kind) for kind in KINDS if getattr(model, kind) is not None}
    manifest = {
        "format": FORMAT,
        "components": {kind: {"name": part.name, **part.hyperparameters()} for kind, part in parts.items()},
        **{flag: getattr(model, flag) for flag in _FLAGS},
        "details": dict(details),
    }
    tables = {
        f"{kind}.{name}": value.detach().cpu().contiguous()
        for kind, part in parts.items()
        for name, value in part.parameters.items()
    }
    save_file(tables, path / TABLES)
    (path / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
    return path


def load_model(folder: str | Path) -> tuple[Model, dict[str, Any]]:
    """The model and details that :func:`save_model` wrote.

    Raises ``FileNotFoundError`` where a file is missing and ``ValueError`` for anything that is not such a model:
    other formats, unknown families or fields, files beyond the size caps, wrong shapes, non-finite numbers.
    """
    path = Path(folder)
    manifest = _read_manifest(path / MANIFEST)
    tables = _read_tables(path / TABLES)
    parts = {kind: _component(kind, manifest["components"].get(kind), tables) for kind in KINDS}
    if tables:
        raise ValueError(f"{path / TABLES} holds tables that no component owns: {', '.join(sorted(tables))}.")
    missing = [kind for kind, part in parts.items() if part is None and kind != "duration"]
    if missing:
        raise ValueError(f"{path / MANIFEST} lacks {', '.join(missing)}; it is not a complete model.")
    model = Model(**parts, **{flag: bool(manifest[flag]) for flag in _FLAGS})  # type: ignore[arg-type]
    _check_consistent(model)
    return model, manifest["details"]


def _read_manifest(path: Path) -> dict[str, Any]:
    _check_size(path, _LARGEST_MANIFEST)
    try:
        manifest = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}).") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ValueError(f"{path} has format {found!r}; this version reads format {FORMAT}.")
    wanted = {"format": int, "components": dict, "details": dict, **dict.fromkeys(_FLAGS, bool)}
    for key, kind in wanted.items():
        if not isinstance(manifest.get(key), kind):
            raise ValueError(f"{path} has {key} = {manifest.get(key)!r}; expected a {kind.__name__}.")
    return manifest


def _read_tables(path: Path) -> dict[str, Tensor]:
    _check_size(path, _LARGEST_TABLES)
    try:
        tables = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a safetensors file ({error}).") from None
    for name, value in tables.items():
        if value.dtype != torch.float64:
            raise ValueError(f"{path}: {name} is {value.dtype}; expected float64.")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{path}: {name} holds NaN or infinite values.")
    return tables


def _check_size(path: Path, largest: int) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a folder that a model's save() wrote.")
    if path.stat().st_size > largest:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {largest} are read.")


def _component(kind: str, described: Any, tables: dict[str, Tensor]) -> Component | None:
    """The component of this kind, taking its tables out of ``tables``."""
    if described is None:
        return None
    found = described.get("name") if isinstance(described, dict) else described
    if not isinstance(described, dict) or not isinstance(found, str) or found not in KINDS[kind].families:
        raise ValueError(f"unknown {kind} {found!r}; expected one of {', '.join(KINDS[kind].families)}.")
    family = KINDS[kind].families[described["name"]]
    options = {key: value for key, value in described.items() if key != "name"}
    known = {field.name for field in fields(family)} - {"parameters"}
    if unknown := set(options) - known:
        raise ValueError(f"{kind} {described['name']} has unknown fields {', '.join(sorted(unknown))}.")
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    own = {name.partition(".")[2]: tables.pop(name) for name in list(tables) if name.startswith(f"{kind}.")}
    if own.keys() != family.state_axes.keys():
        found, expected = (", ".join(sorted(names)) or "nothing" for names in (own, family.state_axes))
        raise ValueError(f"{kind} {described['name']} has the tables {found}; expected {expected}.")
    try:
        return family(parameters=own, **options)
    except TypeError as error:
        raise ValueError(f"{kind} {described['name']} has fields of the wrong type ({error}).") from None


def _check_consistent(model: Model) -> None:
    """A loaded model must be able to make its tables, and they must be distributions of one size."""
    if model.duration is not None and model.duration.max_duration > _LONGEST_DURATION:
        raise ValueError(f"max_duration is {model.duration.max_duration}; at most {_LONGEST_DURATION} are read.")
    model.emission.check()
    try:
        initial, transition = model.initial.log_potentials(), model.transition.log_potentials()
        k = initial.shape[-1]
        durations = model.duration_tables()
        n_features = model.emission.n_features
        order = model.emission.order()
    except (KeyError, RuntimeError, IndexError) as error:
        raise ValueError(f"the model's tables do not fit its components ({error}).") from None
    shapes = {
        "initial": (tuple(initial.shape), (1, k)),
        "transition": (tuple(transition.shape), (1, k, k)),
        "emission": ((len(order), n_features), (k, n_features)),
    }
    rows = [initial, transition]
    if durations is not None:
        d = durations.log_duration.shape[-1]
        shapes["duration"] = (tuple(durations.log_duration.shape), (1, k, d))
        rows.append(durations.log_duration)
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise ValueError(f"the {name} table has shape {found}; expected {expected}.")
    for table in rows:
        if not bool(((table.exp().sum(-1) - 1.0).abs() < 1e-6).all()):
            raise ValueError("a table of the model has rows that are not probabilities.")
