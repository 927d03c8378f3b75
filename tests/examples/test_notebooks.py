"""The notebooks run from their first cell to their last, and are kept without what they put out."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib import pyplot

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS)
def cells(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return json.loads((EXAMPLES / request.param).read_text())["cells"]


@pytest.fixture(autouse=True)
def quietly_in_the_folder_of_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(EXAMPLES)
    with mpl.rc_context({"backend": "Agg"}):
        yield
    pyplot.close("all")


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def test_it_runs_and_all_that_it_shows_can_be_shown(cells: list[dict[str, Any]]) -> None:
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert look(run("".join(cell["source"]), names))
            for number in pyplot.get_fignums():
                pyplot.figure(number).canvas.draw()


def test_nothing_is_kept_of_a_run(cells: list[dict[str, Any]]) -> None:
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def run(source: str, names: dict[str, Any]) -> Any:
    """What a notebook would show of a cell: the value of its last expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def look(shown: Any) -> str:
    """How a notebook would put it."""
    return shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown)
