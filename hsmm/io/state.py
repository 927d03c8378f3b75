"""Filter states on disc."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from hsmm.inference import FilterState
from hsmm.io.files import check_dtype, check_whole, read_manifest, read_tables, write

FORMAT = 1
NAME = "filter_state"
_ROWS = "rows"
_FIELDS = tuple(field.name for field in fields(FilterState))


def save_states(folder: str | Path, model: str, states: Mapping[str, FilterState], rows: Tensor | None = None) -> Path:
    """Write states of the model with this digest, and the last ``rows`` (S, B, F) where it reads them, into ``folder``,
    which is made if need be."""
    tables = {f"{name}.{key}": getattr(state, key) for name, state in states.items() for key in _FIELDS}
    tables |= {} if rows is None else {_ROWS: rows}
    return write(folder, NAME, {"format": FORMAT, "model": model}, tables)


def load_states(folder: str | Path) -> tuple[str, dict[str, FilterState], Tensor | None]:
    """The model's digest, the states and the last rows that :func:`save_states` wrote.

    Raises ``FileNotFoundError`` where a file is missing and ``ValueError`` for anything that is not such a state.
    """
    described, numbers = (Path(folder) / f"{NAME}.{kind}" for kind in ("json", "safetensors"))
    manifest = read_manifest(described, FORMAT, {"model": str})
    own: dict[str, dict[str, Tensor]] = {}
    tables = read_tables(numbers)
    rows = tables.pop(_ROWS, None)
    if rows is not None:
        check_dtype(numbers, _ROWS, rows)
        if rows.ndim != 3 or 0 in rows.shape or bool(rows.isinf().any()):
            raise ValueError(f"{numbers}: {_ROWS} has shape {tuple(rows.shape)}; expected (S, B, F) of finite numbers.")
    for key, value in tables.items():
        name, _, field = key.partition(".")
        own.setdefault(name, {})[field] = value
    states = {name: _state(numbers, name, found) for name, found in own.items()}
    check_whole(numbers, manifest)
    return manifest["model"], states, rows


def _state(path: Path, name: str, tables: dict[str, Tensor]) -> FilterState:
    if tables.keys() != set(_FIELDS):
        raise ValueError(f"{path}: {name} has {', '.join(sorted(tables))}; expected {', '.join(sorted(_FIELDS))}.")
    state = FilterState(**tables)
    for key, value in tables.items():
        check_dtype(path, f"{name}.{key}", value, torch.int64 if key == "n_rows" else torch.float64)
    if state.starting.ndim != 3 or state.starting.shape[0] != 1 or state.steps_left.ndim != 4:
        raise ValueError(f"{path}: {name} is not the state of one model; its tables have other axes.")
    shape = (*state.starting.shape, state.steps_left.shape[-1])
    for key, expected in {"steps_left": shape, "by_age": shape, "n_rows": shape[1:2]}.items():
        if (found := tuple(tables[key].shape)) != expected or 0 in expected:
            raise ValueError(f"{path}: {name}.{key} has shape {found}; expected {expected}, each at least 1.")
    for key in ("starting", "steps_left", "by_age"):
        if not bool((tables[key] < torch.inf).all()):
            raise ValueError(f"{path}: {name}.{key} holds NaN or infinity; expected finite values or -inf.")
    if not bool((state.n_rows > 0).all()):
        raise ValueError(f"{path}: {name}.n_rows is {int(state.n_rows.min())}; expected at least one row seen.")
    return state
