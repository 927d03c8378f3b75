"""A family is known by its name from the moment its class exists, whoever wrote it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import hsmm
from hsmm.components.register import KINDS, import_beside, module_of

FAMILY = """
from dataclasses import dataclass
from typing import ClassVar
import hsmm

@dataclass(frozen=True, kw_only=True, eq=False)
class {title}(hsmm.emissions.Poisson):
    name: ClassVar[str] = "{name}"
"""
COUNTS = np.array([0.0, 1.0, 0.0, 2.0, 9.0, 8.0, 7.0, 9.0, 0.0, 1.0])


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, for modules that are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, module: str, name: str) -> str:
    (folder / f"{module}.py").write_text(FAMILY.format(title=name.title(), name=name))
    importlib.invalidate_caches()
    return module


def test_every_kind_has_the_families_of_its_package() -> None:
    assert set(KINDS) == {"initial", "transition", "duration", "emission", "context"}
    for kind, entry in KINDS.items():
        assert entry.families
        for name, family in entry.families.items():
            assert (family.kind, family.name) == (kind, name)
            assert issubclass(family, entry.base)
            assert module_of(family) is not None or family.__module__.startswith("hsmm.components.")


def test_a_users_family_is_known_once_imported_and_goes_through_files(written: Path) -> None:
    with pytest.raises(ValueError, match="emission is 'arrivals'; expected one of"):
        hsmm.HMM(2, emission="arrivals").fit(COUNTS)
    importlib.import_module(write(written, "their_families", "arrivals"))
    model = hsmm.HMM(2, emission="arrivals", n_init=2, max_iter=5, tol=0.0).fit(COUNTS)
    found = hsmm.load(model.save(written / "model"))
    assert type(found.emission_).__name__ == "Arrivals"
    assert found.score(COUNTS) == model.score(COUNTS)


def test_an_unknown_family_is_answered_with_the_module_to_import(written: Path) -> None:
    importlib.import_module(write(written, "their_families", "arrivals"))
    folder = hsmm.HMM(2, emission="arrivals", n_init=2, max_iter=5, tol=0.0).fit(COUNTS).save(written / "model")
    del KINDS["emission"].families["arrivals"]
    with pytest.raises(ValueError, match=r"unknown emission 'arrivals'.* 'their_families'; import that"):
        hsmm.load(folder)


def test_the_librarys_own_families_are_saved_by_name_alone(tmp_path: Path) -> None:
    hsmm.HMM(2, emission="poisson", n_init=2, max_iter=5, tol=0.0).fit(COUNTS).save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())["components"]
    assert all("module" not in part for part in described.values())


def test_a_module_of_the_package_needs_no_line_elsewhere(written: Path) -> None:
    package = written / "more_families"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package, "arrivals", "arrivals")
    loaded = importlib.import_module("more_families")
    assert "arrivals" not in hsmm.emissions.EMISSIONS
    import_beside("more_families", loaded.__path__)
    assert hsmm.emissions.EMISSIONS["arrivals"].__module__ == "more_families.arrivals"


def test_two_families_of_one_name_are_refused_and_one_defined_again_is_not(written: Path) -> None:
    importlib.import_module(write(written, "their_families", "arrivals"))
    with pytest.raises(ValueError, match=r"is their_families.Arrivals already; give other_families.Arrivals"):
        importlib.import_module(write(written, "other_families", "arrivals"))
    first = KINDS["emission"].families["arrivals"]
    del sys.modules["their_families"]
    importlib.import_module("their_families")
    assert KINDS["emission"].families["arrivals"] is not first


def test_a_class_without_a_name_of_its_own_is_no_family() -> None:
    before = dict(hsmm.emissions.EMISSIONS)
    type("Plain", (hsmm.emissions.Gaussian,), {})
    assert before == hsmm.emissions.EMISSIONS
