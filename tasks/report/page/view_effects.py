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
_POINTS = 24  # hours of a day, each of which has its own
_WHAT = {
    "duration": "expected stay",
    "transition": "P(next state) from {0}",
    "initial": "P(first state)",
    "mean": "mean of {0}",
    "standard deviation": "standard deviation of {0}",
    "scale": "scale of {0}",
    "probability": "P({0} = {1})",
}


def effects(data: PageData) -> dict[str, Any] | None:
    """Curves and a line of importance for each column of the context; None where no table follows one.

    Curves have no intervals where an encoder was learnt, or there is too much to ask in passing; see
    :mod:`hsmm.models.effects`.
    """
    model = data.model
    if model is None or not model.scaling.context or not getattr(model.estimator, "uses_context", False):
        return None
    if not {*model.scaling.columns, *model.scaling.context} <= set(data.rows.columns):
        return None
    rows = data.trained.drop_nulls(model.scaling.context)
    newest = _newest(rows)
    try:
        worth = model.estimator.context_importance(**model.scaling.given(newest, model.estimator), n_repeats=_REPEATS)
    except ValueError:
        return None
    table = _table(model, newest, whole=len(newest) == len(rows))
    drawn = list(_curves(data, model, table, worth["loss"].to_list()))
    shown = {f"effect-{place}": plot for place, (_, plot) in enumerate(drawn[:MOST_CURVES])}
    return {
        "worth": _worth(worth, model.scaling.context),
        "of_newest": len(newest) < len(rows),
        "curves": [(key, caption) for key, (caption, _) in zip(shown, drawn, strict=False)],
        "n_left": max(len(drawn) - MOST_CURVES, 0),
        "has_intervals": bool(table["low"].is_finite().any()),
        "is_encoded": getattr(model.estimator, "context", None) is not None,
        "figures": shown,
    }


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """As many of each series as are asked in passing."""
    if len(rows) <= _MOST_ROWS:
        return rows
    at_most = max(1, _MOST_ROWS // rows["series_id"].n_unique())
    return rows.group_by("series_id", maintain_order=True).tail(at_most).head(_MOST_ROWS)


def _worth(table: pl.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    most = max(float(np.nanmax(table["loss"].to_numpy())), 1e-300)
    lines = [
        {"name": short(name), "loss": number(loss), "width": round(100 * max(loss, 0.0) / most, 1), "by": loss}
        for name, loss in zip(names, table["loss"], strict=True)
    ]
    return sorted(lines, key=lambda row: -row["by"])


def _table(model: ChosenModel, rows: pl.DataFrame, *, whole: bool) -> pl.DataFrame:
    """With intervals where ``rows`` are those of the fit and it stands at a top; without them, else."""
    given = model.scaling.given(rows, model.estimator)
    if whole and model.estimator.n_parameters_ <= _MOST_PARAMETERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IntervalWarning)
                return model.estimator.context_effects(**given, n_points=_POINTS)
        except (ValueError, np.linalg.LinAlgError):
            pass
    return model.estimator.context_effects(**given, n_points=_POINTS, level=None)


def _curves(
    data: PageData, model: ChosenModel, table: pl.DataFrame, losses: list[float]
) -> Iterator[tuple[str, Figure]]:
    """A caption and a plot for each table and column of the context, those first that are worth most."""
    names = {f"context_{place}": name for place, name in enumerate(model.scaling.context)}
    by_worth = dict(zip(names.values(), losses, strict=True))
    labels = dict(zip(model.estimator.feature_labels, model.scaling.columns, strict=True))
    moves = pl.col("table") == "transition"
    told = table.with_columns(
        pl.col("column").replace(names),
        origin=pl.when(moves).then("state"),
        line=pl.when(moves).then("to").otherwise("state"),
    ).sort(pl.col("column").replace_strict(by_worth, return_dtype=pl.Float64), descending=True, maintain_order=True)
    for (column, kind, quantity, origin, feature, symbol), own in told.group_by(
        "column", "table", "quantity", "origin", "feature", "symbol", maintain_order=True
    ):
        about = "" if origin is None else data.state_names[model.state_ids[origin]]
        about = labels[feature] if feature is not None else about
        unit = f" ({data.steps})" if kind == "duration" else ""
        caption = _WHAT[str(quantity if kind == "emission" else kind)].format(short(about), symbol)
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
    return figure(x, lines, (short(column), title), bands=bands, levels=_levels(data, model, column, x))


def _levels(data: PageData, model: ChosenModel, column: str, x: np.ndarray) -> list[str] | None:
    """What the values are called, where they are names: of a calendar, of symbols, or of two things."""
    names = data.categories.get(column, {})
    reads_symbols = not getattr(getattr(model.estimator, "context", None), "standardises", True)
    if not np.array_equal(x, x.round()) or not (names or reads_symbols or len(x) == 2):
        return None
    return [names.get(int(value), f"{int(value)}") for value in x]
