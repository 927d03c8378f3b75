"""What the pages show is what happens: their Python runs as it stands, and gives the numbers written beside it."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.config.columns import STATE_COLUMNS

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = [
    path for path in (_ROOT / "README.md", *sorted(_ROOT.glob("docs/**/*.md"))) if "```python" in path.read_text()
]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_STATED = re.compile(r"#\s*(-?\d+(?:\.(\d+))?)\b(?!\.)")


_COSTLY = {"choosing.md", "learning.md"}


def _page(path: Path) -> Any:
    marks = [pytest.mark.costly] if path.name in _COSTLY else []
    return pytest.param(path, id=str(path.relative_to(_ROOT)), marks=marks)


@pytest.mark.parametrize("page", [_page(path) for path in _PAGES])
def test_the_code_of_a_page_runs_and_gives_the_numbers_beside_it(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(_ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    bring_what_the_tutorial_reads(tmp_path)
    known: dict[str, object] = {}
    for block in _BLOCK.findall(page.read_text()):
        run(block, known, str(page))


def bring_what_the_tutorial_reads(folder: Path) -> None:
    """Two shops' days, long and wide, and a state table of the columns that the page selects."""
    days = [f"2024-01-{day:02}" for day in range(1, 31)]
    pl.DataFrame({"shop": "north", "day": days, "visitors": 7, "turnover": 9.5}).write_csv(folder / "sales.csv")
    pl.DataFrame({"day": days, "north": 1.0, "south": 2.0}).write_csv(folder / "wide.csv")
    empty = {name: pl.Series([], dtype=pl.String) for name in STATE_COLUMNS}
    pl.DataFrame(empty).write_delta(folder / "out" / "states")


def run(block: str, known: dict[str, object], page: str) -> None:
    """Statement by statement; an expression with a number in the comment behind it must have that value."""
    lines = block.splitlines()
    for statement in ast.parse(block).body:
        stated = _STATED.search(lines[statement.end_lineno - 1][statement.end_col_offset :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pages show odd data, too
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), page, "eval"), known)
            else:
                exec(compile(ast.Module([statement], []), page, "exec"), known)
                continue
        if stated is not None:
            digits = len(stated[2] or "")
            assert abs(float(np.asarray(value)) - float(stated[1])) <= 0.6 * 10.0**-digits, ast.unparse(statement)
