"""Plots as plain values, drawn by the page's JavaScript: lines over one axis, each with its look."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from hsmm.plot.runs import Runs, observed_survival
from tasks.report.page.text import short

Figure = dict[str, Any]
Look = Literal["line", "steps", "points", "edge"]

MOST_PLACES = 100
_LABEL = 24
_MOST_DIGITS = 17


def figure(
    x: np.ndarray,
    lines: list[Figure],
    titles: tuple[str, str],
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    bands: list[tuple[int, int]] | None = None,
    levels: list[str] | None = None,
) -> Figure:
    """Lines over ``x`` (n,), in order; each of ``bands`` fills between two of them, by their places: upper, lower.

    Where values of ``x`` are names, ``levels`` are these: lines are points beside each other then, and bands bars.
    """
    return {
        "x": list(range(len(x))) if levels else numbers(x),
        "lines": lines,
        "titles": list(titles),
        "xRange": x_range,
        "yRange": y_range,
        "bands": bands or [],
        "levels": levels,
    }


def line(name: str, y: np.ndarray, tint: int | str, look: Look = "line", width: float = 2.0) -> Figure:
    """``y`` (n,) in the colour of a state (a number) or of the page ("ink", "quiet"); an "edge" only bounds a band."""
    return {"name": short(name, _LABEL), "y": numbers(y), "tint": tint, "look": look, "width": width}


def survival_plot(found: Runs, law: np.ndarray, n_steps: int, state: int, unit: str) -> Figure:
    """One state's P(duration >= n): the runs of the decoded path against the model's ``law`` (n,)."""
    steps = _places(n_steps)
    lines = [line("decoded runs", observed_survival(found, n_steps)[steps - 1], "quiet", "steps", 1.3)]
    if np.isfinite(law).any():
        lines.append(line("model", law[steps - 1], state))
    titles = (f"n ({unit})", "P(duration ≥ n)")
    return figure(steps, lines, titles, x_range=(0.5, n_steps + 0.5), y_range=(0.0, 1.05))


def hazard_plot(hazards: np.ndarray, n_steps: int, names: list[str], unit: str) -> Figure:
    """P(a segment ends now | it has lasted n steps), (n_states, n)."""
    steps = _places(min(n_steps, hazards.shape[1]))
    lines = [line(names[state], row[steps - 1], state) for state, row in enumerate(hazards) if np.isfinite(row).any()]
    return figure(steps, lines, (f"n, {unit} so far", "P(ends now | lasted n)"), x_range=(0.5, n_steps + 0.5))


def _places(n_steps: int) -> np.ndarray:
    """1 … ``n_steps``, all or as many as a plot has pixels to tell apart, evenly spaced."""
    return np.unique(np.linspace(1, n_steps, min(n_steps, MOST_PLACES)).round().astype(int))


def numbers(values: np.ndarray, digits: int = 4) -> Any:
    """Nested lists of as many digits as the eye can see, whole numbers as such, None where not finite.

    The eye sees what a number is of its axis: a row of ``values`` (..., n) that lie close together far from zero has
    more digits than ``digits``.
    """
    if values.ndim > 1:
        return [numbers(row, digits) for row in values]
    finite = values[np.isfinite(values)].astype(float)
    step = np.ptp(finite / 10.0 ** (digits - 1)) if len(finite) else 0.0
    return [_short_number(float(value), digits, step) for value in values]


def _short_number(value: float, digits: int, step: float) -> float | int | None:
    """``value`` told to within ``step``, half of it at most, in ``digits`` significant ones or more."""
    if not np.isfinite(value):
        return None
    if 0.0 < step < abs(value):
        digits = max(digits, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) + 1)
    told = float(f"{value:.{min(digits, _MOST_DIGITS)}g}")
    return int(told) if told.is_integer() and abs(told) < 1e15 else told
