"""Feeds as they come, over a year: series that appear, stop, come back, lie, are corrected, come late, change clocks.

Every version of a row has a moment at which it was written; a night's source holds the versions written by then, in two
files, one with local times without a zone and one in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

ZONE = ZoneInfo("Africa/Cairo")  # where the clocks change at midnight: one day has none, another two
FIRST_NIGHT = date(2023, 4, 25)  # three days before the first change
HISTORY = 40
DELAY = timedelta(hours=12)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
KINDS = ("steady", "appears", "stops", "comes back", "lies", "is corrected", "comes late", "is written twice")

CONFIG = """
name = "toy"
[source]
path = "{path}"
series = "symbol"
time = "at"
timezone = "Africa/Cairo"
frequency = "1d"
available_after = "12h"
written_at = "written"
min_rows = 10
stale_after = 5
[features]
x = {{ op = "identity", column = "x" }}
[model]
n_states = 2
emission = "gaussian"
duration = "geometric"
max_duration = 20
[fit]
train_window = "90d"
n_init = 1
max_iter = 20
tol = 1e-3
device = "cpu"
[promote]
holdout = 3
min_improvement = -1.0
allow_collapsed = true
[alerts]
also = ["stale", "quarantine", "held"]
[alerts.hook]
command = ["dd", "of={told}", "oflag=append", "conv=notrunc", "status=none"]
[output]
states = "{states}"
[tracking]
uri = "{uri}"
"""


def noon(day: date) -> datetime:
    """Local noon in UTC, from the zone's own table."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZONE).astimezone(UTC)


def moment(night: int) -> datetime:
    """When a night is worked: its day's noon has been known for a while."""
    return noon(FIRST_NIGHT + night * _DAY) + DELAY + _HOUR


@dataclass(frozen=True)
class Version:
    """What a feed said of a row, and when it said so; no value where it said that there is none."""

    symbol: str
    day: date
    value: float | None
    written: datetime


def feed(n_series: int, n_nights: int, seed: int = 0) -> list[Version]:
    """All that is ever written of so many series; the kinds of trouble take turns, each as often as there is room."""
    return [
        version
        for i in range(n_series)
        for version in _series(f"{KINDS[i % len(KINDS)]} {i}", KINDS[i % len(KINDS)], n_nights, seed * 1000 + i)
    ]


def _series(symbol: str, kind: str, n_nights: int, seed: int) -> Iterator[Version]:
    rng = np.random.default_rng(seed)
    days = range(-HISTORY, n_nights)
    level = np.repeat(rng.integers(0, 2, len(days)), 6)[: len(days)]
    values = dict(zip(days, 4.0 * level + rng.normal(size=len(days)), strict=True))
    events = _nights_of_trouble(rng, n_nights)
    begin, end = days[0], n_nights
    if kind == "appears":  # at once with a history, or row by row
        begin = events[0] - 20 * int(rng.integers(2))
    if kind == "stops":
        end = events[-1]
    silent = {n + i: n + 8 for n in events for i in range(8)} if kind == "comes back" else {}

    def said(n: int, value: float | None, at: int) -> Version:
        return Version(symbol, FIRST_NIGHT + n * _DAY, value, noon(FIRST_NIGHT + at * _DAY) + _HOUR)

    for n in range(begin, end):
        first = events[0] if kind == "appears" and n < events[0] else silent.get(n, n)
        if first >= n_nights:
            continue
        troubled = n in events
        if troubled and kind == "lies":
            yield said(n, float(rng.choice([1e12, -1e9, np.inf])), first)
            yield said(n, values[n], n + 2)
        elif troubled and kind == "is corrected":
            yield said(n, values[n], n)
            yield said(n - 3, values[n - 3] + 0.5, n)
            yield said(n - 2, None, n)
        elif troubled and kind == "comes late":
            yield said(n, values[n], n + 3)
            yield said(n - 1, None, n)
            yield said(n - 1, values[n - 1], n + 1)
        elif troubled and kind == "is written twice":
            yield said(n, values[n], n)
            yield said(n, values[n] + 1.0, n)
            yield said(n, values[n], n + 1)
        else:
            yield said(n, values[n], first)


def _nights_of_trouble(rng: np.random.Generator, n_nights: int) -> list[int]:
    """About one in six weeks, none of them among the last: what follows is seen, too."""
    spans = np.linspace(4, n_nights - 5, max(1, n_nights // 42) + 1).astype(int)
    return [int(rng.integers(low, max(low + 1, high - 9))) for low, high in pairwise(spans)]


def write_source(versions: list[Version], night: int, folder: Path) -> None:
    """What had been written by that night: even series without a zone, odd ones in UTC."""
    folder.mkdir(exist_ok=True)
    known = [version for version in versions if version.written <= moment(night)]
    for place, zoned in enumerate((False, True)):
        of_file = [v for v in known if int(v.symbol.rsplit(" ", 1)[1]) % 2 == place]
        at = [noon(v.day) if zoned else datetime(v.day.year, v.day.month, v.day.day, 12) for v in of_file]
        frame = pd.DataFrame(
            {
                "symbol": [v.symbol for v in of_file],
                "at": pd.Series(at, dtype="datetime64[us, UTC]" if zoned else "datetime64[us]"),
                "x": pd.Series([v.value for v in of_file], dtype="float64"),
                "written": pd.Series([v.written for v in of_file], dtype="datetime64[us, UTC]"),
            }
        )
        frame.to_parquet(folder / f"{place}.parquet")
