"""The few series that run ahead of nearly all others, as one whose clock is wrong: the others lack the newest steps."""

from __future__ import annotations

import polars as pl

from tasks.config.sections.source import Source
from tasks.source.policies import by_calendar

_FEW = 0.1
_FEWEST = 3
_MOST_TOLD = 3
_AGE, _LAST = pl.col("age").last(), pl.col("time").filter(pl.col("age") == 0).last()


def told_leading(rows: pl.DataFrame, source: Source) -> list[str]:
    """Of validated rows, one sentence for each calendar: which series lead, and by how many steps.

    They are one, or a tenth at most, and half of the others or more lack the very same steps.
    """
    told = []
    for frequency, part in by_calendar(rows, source):
        if frequency is not None and not source.has_own_counts:
            told += _told(part.group_by("series_id", maintain_order=True).agg(_AGE, _LAST).drop_nulls())
    return told


def _told(ends: pl.DataFrame) -> list[str]:
    if len(ends) < _FEWEST:
        return []
    usual = int(ends["age"].mode().max())  # type: ignore[arg-type]
    leading, level = ends.filter(pl.col("age") < usual), ends.filter(age=usual)
    if not 1 <= len(leading) <= max(1, _FEW * len(ends)) or 2 * len(level) < len(ends) - len(leading):
        return []
    first = leading.sort("age", maintain_order=True).head(_MOST_TOLD)
    named = ", ".join(map(repr, first["series_id"])) + ("" if len(first) == len(leading) else " and others")
    foremost, newest = first.row(0, named=True), level.sort("time").row(-1, named=True)
    steps = usual - foremost["age"]
    return [
        f"{named} {'runs' if len(leading) == 1 else 'run'} {steps} step{'s' * (steps > 1)} ahead of nearly all others: "
        f"values until {foremost['time']:%Y-%m-%dT%H:%M:%SZ}, of {len(level)} other series until "
        f"{newest['time']:%Y-%m-%dT%H:%M:%SZ}, whose rows since are missing. If a clock is wrong, mend it in the "
        "source, or say which moment: --as-of."
    ]
