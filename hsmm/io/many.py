"""Many fitted models in one file: tables of those of one structure are stacked, each is read when it is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hsmm.components.model import Model
from hsmm.io.files import check_tables_file, damaged, read_manifest, write
from hsmm.io.model import check_finite, described_model, made_model, model_tables

FORMAT = 1
NAME = "models"
_LARGEST_MANIFEST = 1 << 26
_FIT = "fit"
_DIGESTS = "digests"


@dataclass(frozen=True)
class Stored:
    """A fitted model, JSON-able ``details`` of it, and doubles that are its own: by name, of any shape."""

    model: Model
    details: Mapping[str, Any]
    numbers: Mapping[str, Tensor] = field(default_factory=dict)


def save_many(folder: str | Path, models: Mapping[str, Stored]) -> Path:
    """Write models by name into ``folder``, which is made if need be: one file of tables, one of words.

    Models are of one structure where families, options, details and the shapes of their tables agree.
    """
    structures: dict[str, int] = {}
    described, stacks = list[dict[str, Any]](), list[dict[str, list[Tensor]]]()
    places, digests = list[int](), dict[str, str]()
    for name, one in models.items():
        tables = _own_tables(one)
        digests[name] = _digest_of(tables)
        words = {**described_model(one.model), "details": dict(one.details)}
        shapes = sorted((name, tuple(value.shape)) for name, value in tables.items())
        place = structures.setdefault(json.dumps([words, shapes]), len(structures))
        if place == len(described):
            described.append(words)
            stacks.append({name: [] for name in tables})
        for name, value in tables.items():
            stacks[place][name].append(value)
        places.append(place)
    stacked = {f"{place}.{name}": torch.stack(each) for place, own in enumerate(stacks) for name, each in own.items()}
    manifest = {
        "format": FORMAT,
        "names": list(models),
        "structures": described,
        "structure_of": places,
        _DIGESTS: digests,
    }
    return write(folder, NAME, manifest, stacked)


class ManyModels(Mapping[str, Stored]):
    """The models that :func:`save_many` wrote, by name; their numbers are read one model at a time.

    Raises ``FileNotFoundError`` where a file is missing and ``ValueError`` for anything that is not such a pair of
    files; what is wrong with one model is found when it is asked for.
    """

    def __init__(self, folder: str | Path) -> None:
        words, self._path = (Path(folder) / f"{NAME}.{kind}" for kind in ("json", "safetensors"))
        wanted = {"names": list, "structures": list, "structure_of": list}
        manifest = read_manifest(words, FORMAT, wanted, largest=_LARGEST_MANIFEST)
        names, places, self._structures = (manifest[key] for key in ("names", "structure_of", "structures"))
        known = range(len(self._structures))
        if not all(type(name) is str for name in names) or len(set(names)) < len(names) or len(places) != len(names):
            raise ValueError(f"{words} does not name each of its models once.")
        if not all(type(place) is int and place in known for place in places):
            raise ValueError(f"{words} has models of structures that it does not describe.")
        counts = [0 for _ in known]
        self._place: dict[str, tuple[int, int]] = {}
        for name, place in zip(names, places, strict=True):
            self._place[name] = place, counts[place]
            counts[place] += 1
        check_tables_file(self._path)
        try:
            self._file = safe_open(self._path, framework="pt")  # held open: the folder may be gone when it is read
            self._tables = self._by_structure(self._file.keys(), counts)
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{self._path} is not a safetensors file ({error}).") from None
        self._digests = manifest.get(_DIGESTS, {})  # files of before have none
        if not isinstance(self._digests, dict):
            raise ValueError(f"{words} has {_DIGESTS} that are no object.")

    def __getitem__(self, name: str) -> Stored:
        place, index = self._place[name]
        described = self._structures[place]
        tables, numbers = dict[str, Tensor](), dict[str, Tensor]()
        for table in self._tables[place]:
            value = self._file.get_slice(f"{place}.{table}")[index]
            check_finite(self._path, table, value)
            kind, _, own = table.partition(".")
            if kind == _FIT:
                numbers[own] = value
            else:
                tables[table] = value
        made = Stored(*made_model(described, tables, self._path), numbers)
        whole = tables | {f"{_FIT}.{own}": value for own, value in numbers.items()}
        if self._digests.get(name, digest := _digest_of(whole)) != digest:
            raise damaged(self._path)
        return made

    def __iter__(self) -> Any:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def _by_structure(self, names: Sequence[str], counts: list[int]) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in counts]
        for name in names:
            place, _, table = name.partition(".")
            if not place.isdecimal() or int(place) >= len(counts) or not table:
                raise ValueError(f"{self._path} holds a table {name[:60]!r} that no structure owns.")
            shape = self._file.get_slice(name).get_shape()
            if shape[:1] != [counts[int(place)]]:
                raise ValueError(f"{self._path}: {name} is of {shape[:1]} models; expected {counts[int(place)]}.")
            found[int(place)].append(table)
        return found


def _own_tables(one: Stored) -> dict[str, Tensor]:
    tables = {name: value.detach().cpu() for name, value in model_tables(one.model).items()}
    return tables | {f"{_FIT}.{name}": value for name, value in one.numbers.items()}


def _digest_of(tables: Mapping[str, Tensor]) -> str:
    """Of the names and bytes of one model's tables, so that what is wrong with one is not said of the others."""
    content = hashlib.sha256()
    for name, value in sorted(tables.items()):
        content.update(f"{name}{tuple(value.shape)}".encode())
        content.update(value.contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
