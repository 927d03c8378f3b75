"""The weights of regressions, as the template prints them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tasks.report.page.data import PageData
from tasks.report.page.text import number, short
from tasks.report.weights import weights

MOST_WEIGHTS = 200


def regression(data: PageData) -> dict[str, Any] | None:
    """A line for each weight of each state, its interval on an axis around zero; None without regressions."""
    model = data.model
    if model is None or not {*model.scaling.columns, *model.scaling.context} <= set(data.rows.columns):
        return None
    trained = data.trained
    if trained.is_empty():
        return None
    table = weights(model.estimator, model.scaling, trained)
    if table is None:
        return None
    shown = table.with_columns(
        pl.col("state").replace_strict(dict(enumerate(model.state_ids)), return_dtype=pl.Int64)
    ).sort("feature", "column", "state")
    return {"rows": _lines(data, shown.head(MOST_WEIGHTS)), "n_left": max(len(shown) - MOST_WEIGHTS, 0)}


def _lines(data: PageData, shown: pl.DataFrame) -> list[dict[str, Any]]:
    ends = shown.select("estimate", "low", "high").to_numpy()
    reach = float(np.nanmax(np.abs(ends), initial=0.0)) or 1.0

    def place(value: float) -> float:
        return round(50 + 48 * value / reach, 2)

    lines = []
    for row in shown.iter_rows(named=True):
        known = np.isfinite(row["low"]) and np.isfinite(row["high"])
        low, high = (row["low"], row["high"]) if known else (row["estimate"], row["estimate"])
        lines.append(
            {
                "feature": short(row["feature"]),
                "column": short(row["column"]),
                "state": row["state"],
                "name": short(data.state_names[row["state"]]),
                "estimate": number(row["estimate"]),
                "interval": f"{number(low)} … {number(high)}" if known else "not determined",
                "apart": bool(known and (low > 0 or high < 0)),
                "left": place(low),
                "width": round(place(high) - place(low), 2),
                "at": place(row["estimate"]),
            }
        )
    return lines
