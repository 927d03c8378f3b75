"""Where each state leads, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.report.figures.style import colour, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def transitions(matrix: np.ndarray, mean_duration: np.ndarray, names: list[str]) -> Figure:
    """The next state's probabilities, (n_states, n_states), beside the expected durations, (n_states,)."""
    side = 1.5 + 0.85 * len(names)
    figure = new_figure(side + 4.2, side + 0.3)
    heat, bars = figure.subplots(1, 2, width_ratios=[side, 3.2], sharey=True)
    _heat_map(heat, matrix, names)
    _duration_bars(bars, mean_duration)
    return figure


def _heat_map(axis: Axes, matrix: np.ndarray, names: list[str]) -> None:
    axis.imshow(matrix, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    for (row, column), probability in np.ndenumerate(matrix):
        text = "" if row == column and probability == 0 else f"{probability:.3f}"
        tint = "white" if probability > 0.55 else "black"
        axis.text(column, row, text, ha="center", va="center", color=tint)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("next state")
    axis.set_ylabel("state")
    axis.set_title("From state to state (rows sum to 1)")
    axis.tick_params(length=0)


def _duration_bars(axis: Axes, mean_duration: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    finite = np.where(np.isfinite(mean_duration), mean_duration, 0.0)
    axis.barh(range(len(finite)), finite, color=[colour(k) for k in range(len(finite))], height=0.55)
    for state, mean in enumerate(mean_duration):
        text = "without end" if np.isinf(mean) else f"{mean:.3g}"
        axis.annotate(text, (finite[state], state), (4, 0), textcoords="offset points", va="center")
    axis.set_xlim(0, 1.35 * float(finite.max(initial=1.0)))
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_xlabel("steps")
    axis.set_title("Expected duration")
    axis.tick_params(left=False)
