"""A JSON manifest and a safetensors file beside it, both capped in size and checked in form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

_LARGEST_MANIFEST = 1 << 20
_LARGEST_TABLES = 1 << 29
_LARGEST_HEADER = 1 << 20
_DIGEST = "sha256"


def write(folder: str | Path, name: str, manifest: Mapping[str, Any], tables: Mapping[str, Tensor]) -> Path:
    """Write ``name``.json and ``name``.safetensors into ``folder``, which is made if need be; the first says what bytes
    the second has."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file; expected a folder, which is made if need be.")
    path.mkdir(parents=True, exist_ok=True)
    own = {key: value.detach().cpu().contiguous().clone() for key, value in tables.items()}
    _replace(path / f"{name}.safetensors", lambda new: _save_tables(own, new))
    whole = {**manifest, _DIGEST: _digest_of(path / f"{name}.safetensors")}
    text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
    _replace(path / f"{name}.json", lambda new: new.write_text(text))
    return path


def read_manifest(
    path: Path, version: int, wanted: Mapping[str, type], largest: int = _LARGEST_MANIFEST
) -> dict[str, Any]:
    """The JSON object at ``path``, if it has this format ``version`` and the ``wanted`` keys of these types."""
    _check_size(path, largest)
    try:
        manifest = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}).") from None
    if not isinstance(manifest, dict) or manifest.get("format") != version:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise ValueError(f"{path} has format {found!r}; this version reads format {version}.")
    for key, kind in {"format": int, **wanted}.items():
        if not isinstance(manifest.get(key), kind):
            raise ValueError(f"{path} has {key} = {manifest.get(key)!r}; expected a {kind.__name__}.")
    return manifest


def read_tables(path: Path) -> dict[str, Tensor]:
    """The tensors at ``path``, by name."""
    check_tables_file(path)
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is not a safetensors file ({error}).") from None


def check_whole(path: Path, manifest: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` unless the tables at ``path`` have the bytes of which the manifest beside them speaks; one
    of an earlier version speaks of none."""
    if _DIGEST in manifest and manifest[_DIGEST] != _digest_of(path):
        raise damaged(path)


def damaged(path: Path) -> ValueError:
    """What is wrong with tables that are not those that were written."""
    return ValueError(f"{path} is damaged: it does not hold the bytes that were written beside its words.")


def check_tables_file(path: Path) -> None:
    """Raises ``FileNotFoundError`` or ``ValueError`` where a file is not there or too large to be read."""
    _check_size(path, _LARGEST_TABLES)
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > _LARGEST_HEADER:
        raise ValueError(f"{path} is not a safetensors file (a header of {header} bytes; at most {_LARGEST_HEADER}).")


def check_dtype(path: Path, name: str, value: Tensor, expected: torch.dtype = torch.float64) -> None:
    if value.dtype != expected:
        raise ValueError(f"{path}: {name} is {value.dtype}; expected {str(expected).removeprefix('torch.')}.")


def _replace(path: Path, write_to: Callable[[Path], object]) -> None:
    """Write beside ``path`` first, so that a crash leaves what was there."""
    # `tasks.config.whole` is its own: a run that has nothing to do uses it, and any module of ours here loads PyTorch.
    new = path.with_name(f"{path.name}.new")
    write_to(new)
    new.replace(path)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _DIGEST).hexdigest()


def _save_tables(tables: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tables, path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def _check_size(path: Path, largest: int) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a folder that save() wrote.")
    if path.stat().st_size > largest:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {largest} are read.")
