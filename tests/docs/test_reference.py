"""The configuration's reference is what the program reads, and its examples are configurations."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tasks.config.components import families
from tasks.config.settings import Settings, read_settings
from tasks.fitting.candidates import candidates, check_candidates

_SOURCE = Path(__file__).parents[2] / "docs" / "reference.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = spec_from_file_location("reference", _SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(reference: ModuleType) -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `python docs/reference.py`"


def test_every_key_says_what_it_is(reference: ModuleType) -> None:
    silent = [
        f"{name} {key}"
        for name, section in reference._sections()
        for key, field in section.model_fields.items()
        if not field.description and key not in Settings.model_fields
    ]
    assert not silent


@pytest.mark.parametrize("kind", ["emission", "duration", "transition", "initial", "trainer", "splits"])
def test_every_family_stands_on_the_page(reference: ModuleType, kind: str) -> None:
    page = reference.page()
    assert all(f"| `{name}` |" in page for name in families(kind))


def test_every_example_is_a_configuration(reference: ModuleType, tmp_path: Path) -> None:
    for text in reference.EXAMPLES.values():
        path = tmp_path / "example.toml"
        path.write_text(text)
        settings = read_settings(path)
        check_candidates(settings)
        assert candidates(settings)
