"""What the context does to a unit's model, as the template prints it: curves, and what each column is worth."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from hsmm.errors import IntervalWarning
from tasks.report.page.data import ChosenModel, PageData
from tasks.report.page.plots import Figure, figure, line
from tasks.report.page.text import number, short

MOST_CURVES = 12
_MOST_ROWS = 20_000
_MOST_PARAMETERS = 80
_REPEATS = 3
_WHAT = {
    "duration": "expected stay",
    "transition": "P(next state) from {0}",
    "initial": "P(first state)",
    "emission": "mean of {0}",
}


def effects(data: PageData) -> dict[str, Any] | None:
    """Curves and a line of importance for each column of the context; None where no table follows one.

    Curves are left out of models with an encoder, or too large to ask in passing; see :mod:`hsmm.models.effects`.
    """
    model = data.model
    if model is None or not model.scaling.context or not getattr(model.estimator, "uses_context", False):
        return None
    if not {*model.scaling.columns, *model.scaling.context} <= set(data.rows.columns):
        return None
    rows = data.trained.drop_nulls(model.scaling.context)
    if not 2 <= len(rows) <= _MOST_ROWS:
        return None
    try:
        worth = model.estimator.context_importance(**model.scaling.given(rows, model.estimator), n_repeats=_REPEATS)
    except ValueError:
        return None
    drawn = list(_curves(data, model, rows))
    shown = {f"effect-{place}": plot for place, (_, plot) in enumerate(drawn[:MOST_CURVES])}
    return {
        "worth": _worth(worth, model.scaling.context),
        "curves": [(key, caption) for key, (caption, _) in zip(shown, drawn, strict=False)],
        "n_left": max(len(drawn) - MOST_CURVES, 0),
        "figures": shown,
    }


def _worth(table: pl.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    most = max(float(np.nanmax(table["loss"].to_numpy())), 1e-300)
    lines = [
        {"name": short(name), "loss": number(loss), "width": round(100 * max(loss, 0.0) / most, 1), "by": loss}
        for name, loss in zip(names, table["loss"], strict=True)
    ]
    return sorted(lines, key=lambda row: -row["by"])


def _curves(data: PageData, model: ChosenModel, rows: pl.DataFrame) -> Iterator[tuple[str, Figure]]:
    """A caption and a plot for each table and column of the context."""
    if model.estimator.n_parameters_ > _MOST_PARAMETERS:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IntervalWarning)
            table = model.estimator.context_effects(**model.scaling.given(rows, model.estimator))
    except (ValueError, np.linalg.LinAlgError):
        return
    labels = dict(zip(model.estimator.feature_labels, model.scaling.columns, strict=True))
    moves = pl.col("table") == "transition"
    told = table.with_columns(
        pl.col("column").replace({f"context_{place}": name for place, name in enumerate(model.scaling.context)}),
        origin=pl.when(moves).then("state"),
        line=pl.when(moves).then("to").otherwise("state"),
    )
    for (column, kind, origin, feature), own in told.group_by(
        "column", "table", "origin", "feature", maintain_order=True
    ):
        about = "" if origin is None else data.state_names[model.state_ids[origin]]
        about = labels[feature] if feature is not None else about
        unit = f" ({data.steps})" if kind == "duration" else ""
        caption = _WHAT[str(kind)].format(short(about))
        yield f"{caption}, by {short(str(column))}", _plot(data, model, own, str(column), f"{caption}{unit}")


def _plot(data: PageData, model: ChosenModel, own: pl.DataFrame, column: str, title: str) -> Figure:
    lines: list[Figure] = []
    bands = []
    x = own.filter(pl.col("line") == own["line"][0])["value"].to_numpy()
    for (state,), part in own.group_by("line", maintain_order=True):
        identity = model.state_ids[int(str(state))]
        name = data.state_names[identity]
        low, estimate, high = (part[end].to_numpy() for end in ("low", "estimate", "high"))
        lines.append(line(name, estimate, identity))
        if np.isfinite(low).all() and np.isfinite(high).all():
            lines += [line("", high, identity, "edge"), line("", low, identity, "edge")]
            bands.append((len(lines) - 2, len(lines) - 1))
    return figure(x, lines, (short(column), title), bands=bands)
