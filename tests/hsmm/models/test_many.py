"""Many estimators in two files: each comes back as it was when it is asked for, whatever is wrong with another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hsmm
from hsmm.io import digest

FACTS = ("log_likelihood_", "n_iter_", "converged_", "state_share_")


def fitted(seed: int, n_states: int = 2, kind: type[hsmm.Estimator] = hsmm.HSMM, **options: Any) -> hsmm.Estimator:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=80) + 4.0 * (np.arange(80) // 5 % n_states)
    return kind(n_states, n_init=2, random_state=0, **options).fit(x)


@pytest.fixture(scope="module")
def models() -> dict[str, hsmm.Estimator]:
    """Of several structures, in a mixed order; the last was made with known parameters."""
    known = hsmm.HMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=[[0.9, 0.1], [0.2, 0.8]],
        emission=hsmm.emissions.Gaussian.from_parameters(mean=[[-1.0], [1.0]], covariance=[[1.0], [1.0]]),
    )
    return {
        "a/../b": fitted(0, max_duration=30),
        "": fitted(1, 3, max_duration=30),
        "ä": fitted(2, max_duration=30),
        "hmm": fitted(3, kind=hsmm.HMM),
        "t": fitted(4, emission="student_t", max_duration=30),
        "known": known,
    }


@pytest.fixture
def folder(models: dict[str, hsmm.Estimator], tmp_path: Path) -> Path:
    return hsmm.save_models(tmp_path / "kept", models)


def test_each_comes_back_bit_for_bit(models: dict[str, hsmm.Estimator], folder: Path) -> None:
    again = hsmm.load_models(folder)
    assert [*again] == [*models]
    for name, model in models.items():
        assert type(again[name]) is type(model)
        assert again[name].get_params() == hsmm.load(model.save(folder / "alone")).get_params()
        assert digest(again[name]._fitted_model()) == digest(model._fitted_model())
        for fact in FACTS:
            assert hasattr(again[name], fact) == hasattr(model, fact)
            assert np.array_equal(getattr(again[name], fact, 0), getattr(model, fact, 0))


def test_the_files_are_two_and_equal_structures_are_stacked(models: dict[str, hsmm.Estimator], folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["models.json", "models.safetensors"]
    stacked = load_file(folder / "models.safetensors")
    assert stacked["0.emission.mean"].shape == (2, *models["ä"]._fitted_model().emission.parameters["mean"].shape)


def test_models_outlive_the_folder(models: dict[str, hsmm.Estimator], folder: Path) -> None:
    again = hsmm.load_models(folder)
    shutil.rmtree(folder)
    assert digest(again["ä"]._fitted_model()) == digest(models["ä"]._fitted_model())


def test_what_is_wrong_with_one_is_found_when_it_is_asked_for(folder: Path) -> None:
    tables = load_file(folder / "models.safetensors")
    tables["0.emission.mean"][1] = torch.nan
    save_file(tables, folder / "models.safetensors")
    again = hsmm.load_models(folder)
    assert again["a/../b"].n_states == 2
    with pytest.raises(ValueError, match=r"emission\.mean holds NaN"):
        again["ä"]


def _words(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "models.json").read_text())
        (folder / "models.json").write_text(json.dumps({**content, **changes}))

    return change


def _tables(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tables = load_file(folder / "models.safetensors")
        change(tables)
        save_file(tables, folder / "models.safetensors")

    return apply


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a name twice": (_words(names=["a", "a", "b", "c", "d", "e"]), "each of its models once"),
    "a name too many": (_words(names=[*"abcdefg"]), "each of its models once"),
    "a structure that is not there": (_words(structure_of=[0, 1, 0, 2, 3, 9]), "does not describe"),
    "a structure that is a text": (_words(structure_of=["0", 1, 0, 2, 3, 4]), "does not describe"),
    "other counts": (_words(structure_of=[0, 1, 1, 2, 3, 4]), "is of"),
    "a table of nobody": (_tables(lambda tables: tables.update({"9.x": torch.zeros(2)})), "no structure owns"),
    "another format": (_words(format=9), "format 9"),
    "no tables": (lambda folder: (folder / "models.safetensors").unlink(), "does not exist"),
    "a file cut short": (
        lambda folder: (folder / "models.safetensors").write_bytes((folder / "models.safetensors").read_bytes()[:-9]),
        "not a safetensors file",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_are_no_pair_are_refused(folder: Path, name: str) -> None:
    spoil, words = WRONG[name]
    spoil(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        hsmm.load_models(folder)


def test_other_estimators_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'x' is a GLMHMM; expected one of HSMM, HMM"):
        hsmm.save_models(tmp_path, {"x": hsmm.GLMHMM(2)})  # type: ignore[dict-item]
