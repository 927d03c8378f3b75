"""Which column names the series."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import combinations

import polars as pl

from tasks.source.look.choices import Choices
from tasks.source.look.columns import Column
from tasks.source.look.halves import choose_neither, clock_beside
from tasks.source.parts import Part

_NAMED = re.compile(
    r"(^|_)(id|ids|symbol|ticker|isin|sensor|machine|unit|device|shop|store|station|site|patient|subject|series|asset|"
    r"instrument|meter|customer|account|animal|mouse|engine|turbine|plant|city|region|country|name|code|key|no|nr)(_|$)"
)
_MOST_SHARED = 0.05
_FEWEST_ROWS = 2
_MOST_TRIED = 8
_SMALLEST_TOLD = 0.001


def choose_series(choices: Choices, columns: Sequence[Column], time: Column, parts: Sequence[Part]) -> Column | None:
    """The column by which times come once, or nearly; None where all rows are one series.

    Where what tells rows of one time apart is their time of day, the time is left open instead.
    """
    if "source.series" in choices.given:
        choices.add("source.series", None, "")
        return next((column for column in columns if column.name == choices.value("source.series")), None)
    likely = [column for column in columns if column.name != time.name and _could_name(column)]
    repeated = _repeated(parts, [time.name])
    shared = {column.name: _repeated(parts, [column.name, time.name]) for column in likely}
    fitting = [column for column in likely if shared[column.name] <= max(_MOST_SHARED, 0.1 * repeated)]
    if repeated <= _MOST_SHARED:
        fitting = [column for column in fitting if _is_named(column)]
    clock = (
        clock_beside(time, columns, parts) if repeated > _MOST_SHARED and "source.time" not in choices.given else None
    )
    if clock is not None and not any(_is_named(column) or _is_text(column) for column in fitting):
        choose_neither(choices, time, clock, parts[0].origin)
        return None
    if not fitting:
        _without(choices, likely, repeated, parts, time)
        return None
    best = min(fitting, key=lambda c: (not _is_named(c), not _is_text(c), round(shared[c.name], 2), c.n_distinct))
    once = "once" if shared[best.name] == 0 else f"once but for {_share(shared[best.name])} of the rows"
    n_values = _n_values(parts, best.name)
    why = f"its {n_values} values, such as {best.first}, are ids (kept as text): each has every time {once}"
    others = [column for column in fitting if column is not best]
    choices.add("source.series", best.name, why, *_lines(parts, others))
    return best


def _share(found: float) -> str:
    return f"{found:.1%}" if found >= _SMALLEST_TOLD else "fewer than 0.1%"


def _could_name(column: Column) -> bool:
    if column.is_moment or column.is_clock or column.n_filled < column.n or column.n_distinct * _FEWEST_ROWS > column.n:
        return False
    return _is_text(column) or _is_named(column) or (column.dtype.is_integer() and column.n_whole == column.n)


def _is_text(column: Column) -> bool:
    """Whether its cells are words, or digits that are no number."""
    return column.is_text and (not column.holds_numbers(".") or column.n_zero_led > 0)


def _is_named(column: Column) -> bool:
    lower = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower()
    whole = (column.is_text and not column.holds_numbers(".")) or column.n_whole == column.n_filled
    return bool(_NAMED.search(lower)) and whole


def _repeated(parts: Sequence[Part], names: Sequence[str]) -> float:
    """The share of rows whose cells of these columns stood in a row before."""
    texts = [pl.col(name).cast(pl.String) for name in names]
    keys = pl.concat([part.scanned.select(texts) for part in parts])
    counted = keys.select(pl.len().alias("n"), pl.struct(names).n_unique().alias("n_distinct")).collect()
    return float(1.0 - counted["n_distinct"][0] / max(1, counted["n"][0]))


def _together(likely: Sequence[Column], time: Column, parts: Sequence[Part]) -> Sequence[str]:
    """Two columns that name a series together, if any do."""
    pairs = combinations([column.name for column in likely[:_MOST_TRIED]], 2)
    return next((pair for pair in pairs if _repeated(parts, [*pair, time.name]) <= _MOST_SHARED), ())


def _n_values(parts: Sequence[Part], name: str) -> int:
    """How many different cells a column has, exactly: it is told beside the number of series."""
    cells = pl.concat([part.scanned.select(pl.col(name).cast(pl.String)) for part in parts])
    return int(cells.select(pl.col(name).n_unique()).collect().item())


def _lines(parts: Sequence[Part], columns: Sequence[Column]) -> list[str]:
    return [
        f"series = {json.dumps(column.name, ensure_ascii=False)}   # {_n_values(parts, column.name)} values"
        for column in columns
    ]


def _without(choices: Choices, likely: Sequence[Column], repeated: float, parts: Sequence[Part], time: Column) -> None:
    if repeated <= _MOST_SHARED:
        choices.add("source.series", None, "each time comes once: all rows are one series")
        return
    why = f"{repeated:.0%} of the rows have a time that others have, and no column tells them apart"
    if together := _together(likely, time, parts):
        why += f"; {' and '.join(together)} together do: write both into one column of the source"
    choices.add("source.series", None, why, *_lines(parts, likely), is_open=True)
