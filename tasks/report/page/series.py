"""Series small enough for a page: a stated sample of them, and of their rows all that the eye can see."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tasks.report.page.plots import numbers
from tasks.report.page.text import short

MOST_SERIES = 60
MOST_FEATURES = 6
MOST_NUMBERS = 76_000
MOST_POINTS = 2_000
FEWEST_POINTS = 80


@dataclass(frozen=True)
class Sample:
    """The series that are drawn, as plain values for JavaScript, and how many there are and rows were left out."""

    series: list[dict[str, Any]]
    features: list[str]
    n_series: int
    n_rows: int
    n_points: int
    n_changes: int
    n_changes_drawn: int


def drawn_series(every: list[str], n_features: int, n_states: int, first: list[str]) -> list[str]:
    """At most 60 of ``every`` series, those of ``first`` before others."""
    return sampled(every, first, min(MOST_SERIES, max(_room(n_features, n_states) // FEWEST_POINTS, 1)))


def _room(n_features: int, n_states: int) -> int:
    """How many points of series the page can carry."""
    return MOST_NUMBERS // (4 + min(n_features, MOST_FEATURES) + n_states)


def sample(rows: pl.DataFrame, every: list[str], features: list[str], n_states: int, first: list[str]) -> Sample:
    """Those of ``every`` series that are drawn, and their rows thinned to what a page can carry."""
    drawn = [*features[:MOST_FEATURES], "log_density"]
    room, chosen = _room(len(features), n_states), drawn_series(every, len(features), n_states, first)
    n_points = min(MOST_POINTS, max(room // len(chosen), FEWEST_POINTS))
    parts = rows.filter(pl.col("series_id").is_in(chosen)).partition_by("series_id", maintain_order=True)
    packed = [_pack(part, drawn, n_states, n_points) for part in parts]
    return Sample(
        series=[series for series, *_ in packed],
        features=drawn,
        n_series=len(every),
        n_rows=sum(map(len, parts)),
        n_points=sum(len(series["gaps"]) + 1 for series, *_ in packed),
        n_changes=sum(changes for _, changes, _ in packed),
        n_changes_drawn=sum(kept for *_, kept in packed),
    )


def sampled(every: list[str], first: list[str], most: int) -> list[str]:
    """At most ``most`` of ``every``: up to half of them from ``first``, the rest evenly spaced."""
    if len(every) <= most:
        return every
    chosen = first[: most // 2]
    others = [name for name in every if name not in set(chosen)]
    places = np.linspace(0, len(others) - 1, most - len(chosen)).round().astype(int)
    return [*chosen, *(others[place] for place in places)]


def kept_rows(values: np.ndarray, changes: np.ndarray, n_points: int) -> np.ndarray:
    """Indices of at most ``n_points`` rows of ``values`` (n_rows, n_columns), in order.

    Kept are both ends, the rows at which a state begins (``changes``, thinned evenly to three quarters of the points
    if there are more), and of every column the least and the greatest value in each of as many equal stretches as
    there is room for.
    """
    n_rows, n_columns = values.shape
    if n_rows <= n_points:
        return np.arange(n_rows)
    most_changes = 3 * n_points // 4
    if len(changes) > most_changes:
        changes = changes[np.linspace(0, len(changes) - 1, most_changes).astype(int)]
    n_stretches = max((n_points - len(changes) - 2) // (2 * n_columns), 1)
    edges = np.linspace(0, n_rows, n_stretches + 1).astype(int)
    high = np.where(np.isnan(values), -np.inf, values)
    low = np.where(np.isnan(values), np.inf, values)
    extremes = [
        start + pick(part[start:end], axis=0)
        for start, end in pairwise(edges.tolist())
        for part, pick in ((high, np.argmax), (low, np.argmin))
    ]
    return np.unique(np.concatenate([[0, n_rows - 1], changes, *extremes]))


def _pack(rows: pl.DataFrame, features: list[str], n_states: int, n_points: int) -> tuple[dict[str, Any], int, int]:
    path, state = (rows[name].fill_null(-1).to_numpy().astype(int) for name in ("viterbi", "state"))
    values = np.column_stack([rows[name].cast(float).fill_null(np.nan).to_numpy() for name in features])
    changes = 1 + np.flatnonzero((path[1:] != path[:-1]) | (state[1:] != state[:-1]))
    kept = kept_rows(values, changes, n_points)
    time = rows["time"].dt.epoch("ms").to_numpy()
    gaps = np.diff(time[kept])
    unit = int(np.gcd.reduce(gaps)) if len(gaps) else 1
    packed = {
        "name": short(str(rows["series_id"][0])),
        "start": int(time[0]),
        "unit": unit,
        "gaps": (gaps // unit).tolist(),
        "step": float(np.median(np.diff(time))) if len(time) > 1 else 1.0,
        "values": {name: numbers(values[kept, column]) for column, name in enumerate(features)},
        "viterbi": stretches(path[kept]),
        "state": stretches(state[kept]),
        "seen": stretches(rows["in_sample"].to_numpy().astype(int)[kept]),
        "percent": _percentages(rows["p_filtered"][kept].to_list(), n_states),
    }
    return packed, len(changes), int(np.isin(changes, kept).sum())


def stretches(path: np.ndarray) -> list[int]:
    """State (or 1 for in sample, 0 for not), number of points, state, number of points, …"""
    starts = np.flatnonzero(np.append(True, path[1:] != path[:-1]))
    lengths = np.diff(np.append(starts, len(path)))
    return np.column_stack([path[starts], lengths]).ravel().tolist()


def _percentages(filtered: list[list[float] | None], n_states: int) -> list[list[int | None]]:
    return [
        [None if row is None else round(100 * row[state]) if state < len(row) else 0 for row in filtered]
        for state in range(n_states)
    ]
