"""How often a row comes: the calendar on which the night itself would find the fewest gaps and nothing to set aside."""

from __future__ import annotations

from collections import Counter

import polars as pl

from tasks.config.durations import typical_length
from tasks.source.calendar import is_closed, with_step
from tasks.source.look.choices import Choices
from tasks.source.moments import is_of_days

_CALENDARS = (
    "1y", "1q", "1mo", "1w", "1bd", "1d", "12h", "8h", "6h", "4h", "3h", "2h", "1h", "30m", "20m", "15m", "10m", "5m",
    "4m", "3m", "2m", "1m", "30s", "20s", "15s", "10s", "5s", "2s", "1s", "500ms", "200ms", "100ms", "10ms",
)  # fmt: skip
_FEWEST_FILLED = 0.5
_MOST_OFF = 0.01
_TWO_WEEKS = 10
_MOST_ROWS = 500_000
_MOST_NAMED = 30


def choose_steps(choices: Choices, rows: pl.DataFrame, zone: str) -> str | None:
    """The frequency of most series, from rows by series and time, none twice; None where rows come when they like."""
    rows = rows.head(_MOST_ROWS)
    best = _best_by_series(rows, zone)
    usual = Counter(best.values()).most_common(1)[0][0]
    if usual is None:
        _irregular(choices, rows)
        return None
    frequency, snaps = usual
    n_steps, n_filled, n_off = _filled(rows.filter(_among(best, (frequency, snaps))), frequency, zone, snaps=snaps)
    why = f"of the steps between a series' first row and its last {n_filled / max(1, n_steps):.1%} have one"
    others = {series: fit[0] for series, fit in best.items() if fit is not None and fit[0] != frequency}
    if others and len(others) <= _MOST_NAMED:
        value: object = {"*": frequency, **others}
        why += f"; {len(others)} of {len(best)} series have a calendar of their own"
    else:
        value = frequency
    choices.add("source.frequency", value, f"{why}; the others become rows marked MISSING", *_alternatives(frequency))
    if snaps:
        why = "rows stand a little beside their steps: each counts for the nearest"
        choices.add("source.off_calendar", "snap", why)
    elif n_off:
        where = "on weekends" if frequency == "1bd" else "in a step that has one already"
        why = f"{n_off} of {len(rows)} rows stand {where}, and are left out"
        choices.add("source.off_calendar", "drop", why, 'off_calendar = "reject"   # set their series aside')
    return frequency


def length_of(frequency: str) -> str:
    """How long after its beginning a step is over, as a fixed delay."""
    return {"1bd": "1d", "1mo": "31d", "1q": "92d", "1y": "366d"}.get(frequency, frequency)


def _series(rows: pl.DataFrame) -> list[str]:
    return rows["series_id"].unique(maintain_order=True).to_list()


def _best_by_series(rows: pl.DataFrame, zone: str) -> dict[str, tuple[str, bool] | None]:
    """Of each series the longest step that has room for its rows and is mostly filled; whether rows are beside it."""
    found: dict[str, tuple[str, bool] | None] = dict.fromkeys(_series(rows))
    for frequency in _CALENDARS:
        left = pl.Series([series for series, fit in found.items() if fit is None], dtype=pl.String)
        open_rows = rows.filter(pl.col("series_id").is_in(left.implode()))
        if open_rows.is_empty():
            break
        for snaps in (False,) if is_of_days(frequency) else (False, True):
            fitting = _fitting(open_rows, frequency, zone, snaps=snaps)
            found |= {series: (frequency, snaps) for series in fitting if found[series] is None}
    return found


def _fitting(rows: pl.DataFrame, frequency: str, zone: str, *, snaps: bool) -> list[str]:
    counted = _counted(rows, frequency, zone, snaps=snaps)
    fits = (pl.col("n_off") <= _MOST_OFF * pl.col("n")) & (pl.col("n") >= _FEWEST_FILLED * pl.col("n_steps"))
    if frequency == "1bd":  # in a few days no weekend need be missing
        fits &= pl.col("n_steps") >= _TWO_WEEKS
    return counted.filter(fits & (pl.col("n") > 2))["series_id"].to_list()


def _counted(rows: pl.DataFrame, frequency: str, zone: str, *, snaps: bool) -> pl.DataFrame:
    """By series: rows, those that have no place of their own, steps of its life."""
    if snaps:
        rows = rows.with_columns(pl.col("time").dt.round(frequency))
    placed = with_step(rows, frequency, zone)
    crowded = ~pl.struct("series_id", "step").is_first_distinct()
    days = 7 / 5 if frequency == "1bd" else 1.0
    length = typical_length("1d" if frequency == "1bd" else frequency).total_seconds() * days
    span = (pl.col("step").max() - pl.col("step").min()).dt.total_milliseconds() / 1000
    return (
        placed.with_columns(off=crowded | is_closed(frequency))
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("off").sum().alias("n_off"), (span / length + 1).alias("n_steps"))
    )


def _filled(rows: pl.DataFrame, frequency: str, zone: str, *, snaps: bool) -> tuple[int, int, int]:
    total = _counted(rows, frequency, zone, snaps=snaps).select("n_steps", pl.col("n") - pl.col("n_off"), "n_off").sum()
    n_steps, n_filled, n_off = total.row(0)
    return max(round(n_steps), n_filled), n_filled, n_off


def _among(best: dict[str, tuple[str, bool] | None], fit: tuple[str, bool]) -> pl.Expr:
    own = pl.Series([series for series, found in best.items() if found == fit], dtype=pl.String)
    return pl.col("series_id").is_in(own.implode())


def _alternatives(frequency: str) -> tuple[str, ...]:
    return ('frequency = "1d"   # weekends count as steps, too',) if frequency == "1bd" else ()


def _irregular(choices: Choices, rows: pl.DataFrame) -> None:
    usual = rows.select(pl.col("time").diff().over("series_id").median()).item()
    why = f"rows come when they like (the usual distance is {usual}): each counts as one step"
    lines = (
        'frequency = "1h"   # with resample: steps of equal length',
        'resample = "mean"   # or last, sum, …: by column, too',
    )
    choices.add("source.frequency", None, why, *lines)
