"""Plots as plain plotly figures: ``data`` and ``layout``, to be drawn by its JavaScript."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from hsmm.plot.runs import Runs, observed_survival
from hsmm.plot.style import MUTED, colour
from tasks.report.page.text import label, number

Figure = dict[str, Any]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BLUES = [[0.0, "#ffffff"], [1.0, "#0b5cad"]]


def survival_plot(found: Runs, law: np.ndarray, n_steps: int, state: int, unit: str) -> Figure:
    """One state's P(duration >= n): the runs of the decoded path against the model's ``law`` (n,)."""
    steps = np.arange(1, n_steps + 1)
    traces = [
        {
            **_line(steps, observed_survival(found, n_steps), MUTED, 1.3),
            "name": "decoded runs",
            "line": {"color": MUTED, "width": 1.3, "shape": "hv"},
        }
    ]
    if np.isfinite(law).any():
        traces.append({**_line(steps[: len(law)], law[:n_steps], colour(state), 2.4), "name": "model"})
    hover = {"hovertemplate": "n = %{x}: %{y:.3f}"}
    return {
        "data": [trace | hover for trace in traces],
        "layout": {
            "xaxis": {"title": {"text": f"n ({unit})"}, "range": [0.5, n_steps + 0.5]},
            "yaxis": {"title": {"text": "P(duration ≥ n)"}, "range": [-0.03, 1.05]},
            "showlegend": True,
        },
    }


def hazard_plot(hazards: np.ndarray, n_steps: int, names: list[str], unit: str) -> Figure:
    """P(a segment ends now | it has lasted n steps), (n_states, n)."""
    steps = np.arange(1, hazards.shape[1] + 1)[:n_steps]
    traces = [
        {
            **_line(steps, row[:n_steps], colour(state), 2.2),
            "name": label(names[state]),
            "hovertemplate": "n = %{x}: %{y:.4f}",
        }
        for state, row in enumerate(hazards)
        if np.isfinite(row).any()
    ]
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": f"n, {unit} so far"}, "range": [0.5, n_steps + 0.5]},
            "yaxis": {"title": {"text": "P(ends now | lasted n)"}, "rangemode": "tozero"},
            "showlegend": True,
        },
    }


def transition_plot(matrix: np.ndarray, names: list[str]) -> Figure:
    """P(next state | state), (n_states, n_states)."""
    ticks = _state_ticks(names)
    text = [
        {
            "x": column,
            "y": row,
            "text": f"{probability:.3f}",
            "showarrow": False,
            "font": {"color": "#ffffff" if probability > 0.6 else "#1b1f24"},
        }
        for (row, column), probability in np.ndenumerate(matrix)
        if len(names) <= 12 and np.isfinite(probability) and not (row == column and probability == 0)
    ]
    heat = {
        "type": "heatmap",
        "z": _numbers(matrix),
        "zmin": 0,
        "zmax": 1,
        "colorscale": _BLUES,
        "xgap": 2,
        "ygap": 2,
        "colorbar": {
            "title": {"text": "P", "side": "top"},
            "thickness": 12,
            "outlinewidth": 0,
            "tickvals": [0, 0.5, 1],
        },
        "hovertemplate": "P = %{z:.4f}<extra></extra>",
    }
    side = {"showgrid": False, "zeroline": False, "ticks": ""}
    return {
        "data": [heat],
        "layout": {
            "xaxis": {**ticks, **side, "title": {"text": "next state"}, "ticklabeloverflow": "allow"},
            "yaxis": {**ticks, **side, "title": {"text": "state"}, "autorange": "reversed"},
            "annotations": text,
        },
    }


def spread_plot(rows: pl.DataFrame, feature: str, unit: str, names: list[str]) -> Figure:
    """Quantiles of a feature in every state of the decoded path, all series together."""
    boxes = []
    for state, name in enumerate(names):
        values = rows.filter(pl.col("viterbi") == state)[feature].drop_nulls()
        if values.is_empty():
            continue
        low, q1, median, q3, high = (values.quantile(level, "linear") for level in QUANTILES)
        boxes.append(
            {
                "type": "box",
                "orientation": "h",
                "y": [state],
                "width": 0.6,
                "lowerfence": [low],
                "q1": [q1],
                "median": [median],
                "q3": [q3],
                "upperfence": [high],
                "name": label(name),
                "fillcolor": colour(state),
                "line": {"color": "#1b1f24", "width": 1},
                "showlegend": False,
                "hovertemplate": f"median {number(median)}<extra></extra>",
            }
        )
    return {
        "data": boxes,
        "layout": {
            "xaxis": {"title": {"text": f"{label(feature)} ({label(unit)})"}},
            "yaxis": {
                **_state_ticks(names),
                "title": {"text": "state"},
                "range": [len(names) - 0.5, -0.5],
                "showgrid": False,
                "zeroline": False,
            },
        },
    }


def _state_ticks(names: list[str]) -> Figure:
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [label(name) for name in names]}


def _line(x: np.ndarray, y: np.ndarray, tint: str, width: float) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x.tolist(),
        "y": _numbers(y),
        "line": {"color": tint, "width": width},
    }


def _numbers(values: np.ndarray) -> Any:
    """Nested lists of five digits, None where not finite."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
