"""The weights of regressions in a model's emissions, with intervals."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl

from hsmm.errors import IntervalWarning
from tasks.fitting.scaling import Scaling

_MOST_ROWS = 20_000
_MOST_PARAMETERS = 80
_KINDS = ("coef", "intercept")
_SCHEMA = {
    "state": pl.Int64,
    "feature": pl.String,
    "column": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def weights(model: Any, scaling: Scaling, rows: pl.DataFrame) -> pl.DataFrame | None:
    """One row a weight: state (the model's number), feature, column, estimate, low, high; None without regressions.

    ``rows`` are those of the fit. The column of an intercept is "intercept"; intervals are of 95 %, by the curvature of
    the log-likelihood, and NaN where the data do not determine them, or are too many to ask in passing.
    """
    parameters = getattr(model.emission_, "parameters", {})
    if not parameters.keys() >= set(_KINDS):
        return None
    told = _with_intervals(model, scaling, rows)
    found = told if told is not None else _estimates(parameters)
    return pl.DataFrame([_named(model, scaling, row) for row in found], schema=_SCHEMA, orient="row")


def _with_intervals(model: Any, scaling: Scaling, rows: pl.DataFrame) -> list[tuple[str, int, list[int], Any]] | None:
    if not 0 < len(rows) <= _MOST_ROWS or model.n_parameters_ > _MOST_PARAMETERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IntervalWarning)
            table = model.confidence_intervals(**scaling.given(rows, model))
    except (ValueError, np.linalg.LinAlgError):
        return None
    own = table.filter(pl.col("parameter").is_in([f"emission.{kind}" for kind in _KINDS]))
    ends = own.select("estimate", "low", "high").rows()
    where = own.select("parameter", "state", "index").rows()
    return [(name.split(".")[1], state, list(index), of) for (name, state, index), of in zip(where, ends, strict=True)]


def _estimates(parameters: Any) -> list[tuple[str, int, list[int], Any]]:
    nothing = float("nan")
    return [
        (kind, place[0], list(place[1:]), (float(value), nothing, nothing))
        for kind in _KINDS
        if kind in parameters
        for place, value in np.ndenumerate(parameters[kind][0].numpy())
    ]


def _named(model: Any, scaling: Scaling, row: tuple[str, int, list[int], Any]) -> tuple[Any, ...]:
    kind, state, index, ends = row
    columns, features = _covariates(model, scaling), scaling.columns
    column = "intercept" if kind == "intercept" else _at(columns, index[0])
    place = index[1] if kind == "coef" and len(index) > 1 else index[0] if kind == "intercept" and index else 0
    return (state, _at(features, place), column, *ends)


def _covariates(model: Any, scaling: Scaling) -> list[str]:
    chosen = getattr(model.emission_, "columns", None)
    return scaling.context if chosen is None else [_at(scaling.context, place) for place in chosen]


def _at(names: list[str], place: Any) -> str:
    return names[place] if isinstance(place, int) and place < len(names) else f"column {place}"
