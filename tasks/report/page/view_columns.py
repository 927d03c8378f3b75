"""What each column contributes: to telling a new state from the one before, and to surprise."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tasks.report.page.data import PageData
from tasks.report.page.text import count, number, share, short

MOST_COLUMNS = 8
_MOST_ROWS = 20_000


def columns(data: PageData) -> dict[str, Any] | None:
    """A line for each feature, by what it adds at changes of state; None where there is but one, or they are too many.

    Shares are Shapley's, of the newest rows of every series: as many as 20,000 of them hold.
    """
    model = data.model
    if model is None or not 2 <= len(model.scaling.columns) <= MOST_COLUMNS:
        return None
    if not set(model.scaling.columns) <= set(data.rows.columns):
        return None
    rows = data.modelled.group_by("series_id", maintain_order=True).tail(
        max(_MOST_ROWS // data.modelled["series_id"].n_unique(), 2)
    )
    try:
        found = model.estimator.contributions(**model.scaling.given(rows, model.estimator))
    except ValueError:
        return None
    return {**_lines(found, model.estimator.feature_labels, model.scaling.columns), "n_rows": count(rows.height)}


def _lines(found: pl.DataFrame, labels: list[str], names: list[str]) -> dict[str, Any]:
    """``labels`` are the features' names in ``found``, ``names`` those of the configuration."""
    moved = found.filter(pl.col("state") != pl.col("state_before"))
    evidence = {name: _mean(moved[f"log_odds_{label}"]) for label, name in zip(labels, names, strict=True)}
    surprise = {name: _mean(found[f"surprise_{label}"]) for label, name in zip(labels, names, strict=True)}
    total = sum(max(value, 0.0) for value in evidence.values())
    order = sorted(names, key=lambda name: -np.nan_to_num(evidence[name], nan=-np.inf))
    return {
        "n_moves": count(moved.height),
        "past": number(_mean(moved["log_odds_past"])),
        "rows": [
            {
                "name": short(name),
                "evidence": number(evidence[name]),
                "share": share(max(evidence[name], 0.0) / total if total > 0 else float("nan")),
                "width": round(100 * max(evidence[name], 0.0) / total, 1) if total > 0 else 0.0,
                "surprise": number(surprise[name]),
            }
            for name in order
        ],
    }


def _mean(values: pl.Series) -> float:
    known = values.drop_nulls().drop_nans()
    return float(known.to_numpy().mean()) if len(known) else float("nan")
