"""Quantiles of every feature in every state, as bars that need no script."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tasks.report.page.data import PageData
from tasks.report.page.series import MOST_FEATURES
from tasks.report.page.text import number, short

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def spreads(data: PageData, states: list[int]) -> list[dict[str, Any]]:
    """For each of the first features a bar a state: places in per cent of a common axis, and its marks."""
    found = []
    for feature, unit in list(data.units.items())[:MOST_FEATURES]:
        levels = _quantiles(data.modelled, feature)
        known = {state: levels[state] for state in states if state in levels}
        if known:
            found.append({"feature": short(feature), "unit": short(unit), **_placed(data, known)})
    return found


def _quantiles(rows: pl.DataFrame, feature: str) -> dict[int, list[float]]:
    """Decoded state to the quantiles of a feature there."""
    levels = [pl.col(feature).quantile(level, "linear").alias(str(level)) for level in QUANTILES]
    known = rows.filter(pl.col("viterbi") >= 0, pl.col(feature).is_not_null())
    return {state: list(values) for state, *values in known.group_by("viterbi").agg(levels).iter_rows()}


def _placed(data: PageData, known: dict[int, list[float]]) -> dict[str, Any]:
    from matplotlib.ticker import MaxNLocator

    ends = np.array(list(known.values()))
    low, high = float(ends.min()), float(ends.max())
    room = 0.03 * (high - low) or 0.5
    low, high = low - room, high + room

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    ticks = [(place(tick), f"{tick:.6g}") for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    bars = [
        {
            "state": state,
            "name": short(data.state_names[state]),
            "places": [place(value) for value in known[state]],
            "said": ", ".join(number(value) for value in known[state]),
        }
        for state in known
    ]
    return {"ticks": ticks, "bars": bars}
