"""A bundle comes back as it was saved; anything else is one sentence, whatever it holds."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

import hsmm
from hsmm.io import digest
from tasks.config.errors import ModelError
from tasks.fitting.bundle import Bundle, Member, add_canary, check_canary, load_bundle, save_bundle
from tasks.fitting.scaling import Scaling

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    model = hsmm.HSMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.0, 1.0], [1.0, 0.0]],
        duration_prob=np.full((2, 5), 0.2),
        emission=hsmm.emissions.Gaussian.from_parameters(mean=[[-1.0], [1.0]], covariance=[[1.0], [1.0]]),
    )
    scaling = Scaling(["r"], pl.DataFrame({"series_id": ["A", "B"], "mean:r": [0.0, 0.1], "scale:r": [1.0, 2.0]}))
    bundle = Bundle({"": Member(model, (3, 1), 4, None, NOW, NOW)}, scaling)
    save_bundle(bundle, tmp_path / "bundle")
    add_canary(bundle, tmp_path / "bundle", pl.DataFrame({"series_id": "A", "r": rng.normal(size=90)}))
    return tmp_path / "bundle"


def _edited(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        changed = edit(content)
        (folder / name).write_text(json.dumps(content if changed is None else changed))

    return apply


def _manifest(**changes: Any) -> Callable[[Path], None]:
    return _edited("bundle.json", lambda content: content.update(changes))


def _member(**changes: Any) -> Callable[[Path], None]:
    return _edited("bundle.json", lambda content: content["members"][0].update(changes))


def _scale(**changes: Any) -> Callable[[Path], None]:
    return _edited("bundle.json", lambda content: content["statistics"][0].update(changes))


def _canary(**changes: Any) -> Callable[[Path], None]:
    return _edited("canary.json", lambda content: content[0].update(changes))


def _written(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _tables(edit: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / _TABLES
        save_file({name: edit(table).contiguous() for name, table in load_file(path).items()}, path)

    return apply


def _linked(folder: Path) -> None:
    (folder / "models").rename(folder.parent / "elsewhere")
    (folder / "models").symlink_to(folder.parent / "elsewhere")


def _piped(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


class _Touches:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


_PICKLED = pickle.dumps(_Touches())
_TABLES = "models/models.safetensors"
_MANY = struct.pack("<Q", 2_000_000) + b'{"a":[' + b"0," * 999_990

HOSTILE: dict[str, Callable[[Path], object]] = {
    "a pickle for tables": _written(_TABLES, _PICKLED),
    "a pickle for the manifest": _written("bundle.json", _PICKLED),
    "a header longer than the file": _written(_TABLES, struct.pack("<Q", 2**63) + b"{}"),
    "a header of megabytes": _written(_TABLES, _MANY),
    "tables of NaN": _tables(lambda table: table * float("nan")),
    "tables of another shape": _tables(lambda table: table[..., :1].clone()),
    "tables of another type": _tables(lambda table: table.float()),
    "a manifest without end": _written("bundle.json", b"[" * 200_000),
    "a manifest of millions": _written("bundle.json", b"[" + b"[]," * 5_000_000 + b"[]]"),
    "a manifest of gigabytes": lambda folder: os.truncate(folder / "bundle.json", 1 << 33),
    "a manifest of nothing": _edited("bundle.json", lambda _: []),
    "a pipe for the manifest": _piped("bundle.json"),
    "a pipe for the canary": _piped("canary.json"),
    "a model outside": _linked,
    "models of others": _edited("models/models.json", lambda content: content.update(names=["A"])),
    "a unit that is a path": _member(unit="../../etc/passwd"),
    "two models for one series": _edited("bundle.json", lambda content: content["members"].extend(content["members"])),
    "a hundred thousand models": _edited("bundle.json", lambda c: c.update(members=c["members"] * 100_001)),
    "ids beyond the table's": _member(ids=[0, 2**40], next_id=2**41),
    "ids below nothing": _member(ids=[-1, 1]),
    "the same id twice": _member(ids=[1, 1]),
    "ids that are halves": _member(ids=[0.5, 1.5]),
    "ids exchanged": _member(ids=[1, 3]),
    "a version that is none": _member(version="newest"),
    "a day without a zone": _member(train_end="2024-01-01"),
    "a scale of NaN": _scale(**{"scale:r": float("nan")}),
    "a scale of nothing": _scale(**{"scale:r": 0.0}),
    "a scale of text": _scale(**{"scale:r": "1"}),
    "a feature too many": _manifest(columns=["r", "s"]),
    "columns that are a text": _manifest(columns="r"),
    "an older format": _manifest(format=1),
    "a canary of others": _canary(decoded=[[0.5, 0.5]] * 50),
    "a canary of nothing": _canary(values=[], decoded=[]),
    "a canary of millions": _canary(values=[[0.0]] * 200_000),
    "a canary of NaN": _canary(decoded=[[float("nan")] * 2] * 50),
    "a canary without end": _written("canary.json", b"[" * 200_000),
}


def test_what_was_saved_comes_back(folder: Path) -> None:
    bundle = load_bundle(folder)
    check_canary(bundle, folder)
    member = bundle.members[""]
    assert (member.ids, member.next_id, member.version, member.train_end) == ((3, 1), 4, None, NOW)
    assert bundle.scaling.statistics["scale:r"].to_list() == [1.0, 2.0]


def test_a_bundle_of_an_earlier_version_is_read(folder: Path) -> None:
    """One with a folder for each model."""
    now = load_bundle(folder).members[""]
    now.model.save(folder / "00000")
    shutil.rmtree(folder / "models")
    _manifest(format=3)(folder)
    before = load_bundle(folder)
    check_canary(before, folder)
    assert digest(before.members[""].model._fitted_model()) == digest(now.model._fitted_model())


@pytest.fixture
def of_two(folder: Path) -> Path:
    bundle = load_bundle(folder)
    return save_bundle(Bundle(dict.fromkeys("AB", bundle.members[""]), bundle.scaling), folder)


def test_only_the_model_that_is_asked_for_is_read(of_two: Path) -> None:
    tables = load_file(of_two / _TABLES)
    tables["0.emission.mean"][0] = torch.nan
    save_file(tables, of_two / _TABLES)
    again = load_bundle(of_two).members
    assert again["B"].ids == again["A"].ids
    assert again["B"].model.n_states == 2
    with pytest.raises(ModelError, match="holds NaN"):
        again["A"].model  # noqa: B018


def test_models_that_changed_places_are_refused(of_two: Path) -> None:
    _edited("models/models.json", lambda content: content.update(names=["B", "A"]))(of_two)
    with pytest.raises(ModelError, match=r"not those of bundle\.json"):
        load_bundle(of_two)


def test_ids_of_other_states_are_refused(folder: Path) -> None:
    _member(ids=[3], next_id=4)(folder)
    with pytest.raises(ModelError, match="has 2 states; expected 1"):
        load_bundle(folder).members[""].model  # noqa: B018


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_one_sentence(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    HOSTILE[name](folder)
    monkeypatch.chdir(folder.parent)
    with pytest.raises(ModelError) as refusal:
        check_canary(load_bundle(folder), folder)
    assert len(str(refusal.value).splitlines()) == 1
    assert not Path("executed").exists()
