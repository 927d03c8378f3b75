"""Fitted models on disc, and what tells one from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.model import Model
from hsmm.components.register import KINDS, module_of
from hsmm.io.files import check_dtype, check_whole, read_manifest, read_tables, write
from hsmm.spelling import nearest

FORMAT = 1
NAME = "model"
_LONGEST_DURATION = 1 << 20
_LARGEST_TABLE = 1 << 24
_DEEPEST = 8
_FLAGS = ("left_censored", "right_censored")
_OPTIONAL = ("duration", "context")
_WORDS: dict[str, type] = {"components": dict, "details": dict, **dict.fromkeys(_FLAGS, bool)}


def save_model(folder: str | Path, model: Model, details: Mapping[str, Any]) -> Path:
    """Write a fitted model and JSON-able ``details`` into ``folder``, which is made if need be."""
    manifest = {"format": FORMAT, **described_model(model), "details": dict(details)}
    return write(folder, NAME, manifest, model_tables(model))


def digest(model: Model) -> str:
    """SHA-256 of a model's families, options and parameters; the same after saving and loading."""
    content = hashlib.sha256(json.dumps(described_model(model), sort_keys=True, default=repr).encode())
    for name, value in sorted(model_tables(model).items()):
        content.update(f"{name}{tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def load_model(folder: str | Path) -> tuple[Model, dict[str, Any]]:
    """The model and details that :func:`save_model` wrote.

    Raises ``FileNotFoundError`` where a file is missing and ``ValueError`` for anything that is not such a model:
    other formats, unknown families or fields, files beyond the size caps, wrong shapes, non-finite numbers.
    """
    described, numbers = (Path(folder) / f"{NAME}.{kind}" for kind in ("json", "safetensors"))
    manifest = read_manifest(described, FORMAT, _WORDS)
    tables = read_tables(numbers)
    for name, value in tables.items():
        check_finite(numbers, name, value)
    made = made_model(manifest, tables, numbers)
    check_whole(numbers, manifest)
    return made


def made_model(described: Any, tables: dict[str, Tensor], path: Path) -> tuple[Model, dict[str, Any]]:
    """The model, and its details, that words as of :func:`described_model` and the ``tables`` at ``path`` make.

    Raises ``ValueError`` where they do not make one.
    """
    if not isinstance(described, dict) or not all(isinstance(described.get(key), kind) for key, kind in _WORDS.items()):
        raise ValueError(f"{path} is not described as a model; expected {', '.join(_WORDS)}.")
    tables = dict(tables)
    parts = {kind: _component(kind, described["components"].get(kind), tables) for kind in KINDS}
    if tables:
        raise ValueError(f"{path} holds tables that no component owns: {', '.join(sorted(tables))}.")
    missing = [kind for kind, part in parts.items() if part is None and kind not in _OPTIONAL]
    if missing:
        raise ValueError(f"the model of {path} lacks {', '.join(missing)}; it is not complete.")
    model = Model(**parts, **{flag: bool(described[flag]) for flag in _FLAGS})  # type: ignore[arg-type]
    _check_consistent(model)
    return model, described["details"]


def described_model(model: Model) -> dict[str, Any]:
    """Families and options of a model, in words that JSON can hold."""
    parts = model.components()
    return {
        "components": {kind: _plain(part) for kind, part in parts.items()},
        **{flag: getattr(model, flag) for flag in _FLAGS},
    }


def model_tables(model: Model) -> dict[str, Tensor]:
    """Every learnt table by the component's kind and its name."""
    parts = model.components()
    return {f"{kind}.{name}": value for kind, part in parts.items() for name, value in part.parameters.items()}


def check_finite(path: Path, name: str, value: Tensor) -> None:
    """Raises ``ValueError`` unless a table holds finite doubles."""
    check_dtype(path, name, value)
    if not bool(value.isfinite().all()):
        raise ValueError(f"{path}: {name} holds NaN or infinite values.")


def _component(kind: str, described: Any, tables: dict[str, Tensor]) -> Component | None:
    """The component of this kind, taking its tables out of ``tables``."""
    if described is None:
        return None
    own = {name.partition(".")[2]: tables.pop(name) for name in list(tables) if name.startswith(f"{kind}.")}
    family = _family(kind, described)
    with suppress(KeyError, RuntimeError, IndexError):
        own = family.completed(own)
    if own.keys() != family.state_axes.keys():
        found, expected = (", ".join(sorted(names)) or "nothing" for names in (own, family.state_axes))
        raise ValueError(f"{kind} {family.name} has the tables {found}; expected {expected}.")
    return replace(family, parameters=own)


def _plain(value: Any) -> Any:
    """A component as its name, a user's with its module, and its options, those that are components likewise."""
    if isinstance(value, Component):
        module = module_of(type(value))
        origin = {} if module is None else {"module": module}
        options = {key: _plain(option) for key, option in value.hyperparameters().items()}
        return {"name": value.name, **origin, **options}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _family(kind: str, described: Any, depth: int = 0) -> Any:
    """The component, without parameters, that :func:`_plain` described."""
    if depth > _DEEPEST:
        raise ValueError(f"{kind} has components within components deeper than {_DEEPEST}.")
    found = described.get("name") if isinstance(described, dict) else described
    if not isinstance(described, dict) or not isinstance(found, str):
        raise ValueError(
            f"unknown {kind} {found!r}; expected one of {', '.join(KINDS[kind].families)}"
            f"{nearest(found, KINDS[kind].families)}"
        )
    family = KINDS[kind].families.get(found)
    if family is None and "module" in described:
        raise ValueError(
            f"unknown {kind} {found!r}: its family is defined in the module {described['module']!r}; import that, and "
            "load again."
        )
    if family is None:
        raise ValueError(
            f"unknown {kind} {found!r}; expected one of {', '.join(KINDS[kind].families)}"
            f"{nearest(found, KINDS[kind].families)}"
        )
    options = {key: value for key, value in described.items() if key not in ("name", "module")}
    known = {field.name for field in fields(family)} - {"parameters"}
    if unknown := set(options) - known:
        raise ValueError(f"{kind} {found} has unknown fields {', '.join(sorted(unknown))}.")
    try:
        return family(**{key: _option(kind, value, depth) for key, value in options.items()})
    except TypeError as error:
        raise ValueError(f"{kind} {found} has fields of the wrong type ({error}).") from None


def _option(kind: str, value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        return _family(kind, value, depth + 1)
    return tuple(_option(kind, item, depth + 1) for item in value) if isinstance(value, list) else value


def _check_consistent(model: Model) -> None:
    """A loaded model must be able to make its tables, and they must be distributions of one size."""
    if model.duration is not None and model.duration.max_duration > _LONGEST_DURATION:
        raise ValueError(f"max_duration is {model.duration.max_duration}; at most {_LONGEST_DURATION} are read.")
    for part in model.components().values():
        part.check()
    try:
        initial, k = model.initial.log_potentials(), model.transition.n_states
        if model.duration is not None and k * model.duration.max_duration > _LARGEST_TABLE:
            raise ValueError(f"{k} states with max_duration {model.duration.max_duration} make too large a table.")
        transition = None if model.transition.uses_covariates else model.transition.log_potentials()
        durations = model.duration_tables()
        n_features = model.emission.n_features
        order = model.emission.order()
    except (KeyError, RuntimeError, IndexError) as error:
        raise ValueError(f"the model's tables do not fit its components ({error}).") from None
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        "initial": (tuple(initial.shape), (1, k)),
        "emission": ((len(order), n_features), (k, n_features)),
    }
    rows = [initial]
    if transition is not None:
        shapes["transition"] = (tuple(transition.shape), (1, k, k))
        rows.append(transition)
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
