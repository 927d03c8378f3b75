"""Where each state leads, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hsmm.plot.laws import heat_map
from hsmm.plot.style import colour
from tasks.report.figures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def transitions(matrix: np.ndarray, mean_duration: np.ndarray, names: Mapping[int, str]) -> Figure:
    """The next state's probabilities, (n_states, n_states), beside the expected durations, (n_states,)."""
    side = 1.5 + 0.85 * len(names)
    figure = new_figure(side + 4.2, side + 0.3)
    heat, bars = figure.subplots(1, 2, width_ratios=[side, 3.2], sharey=True)
    heat_map(heat, matrix, list(names.values()))
    heat.set_title("From state to state (rows sum to 1)")
    _duration_bars(bars, mean_duration, [colour(state) for state in names])
    return figure


def _duration_bars(axis: Axes, mean_duration: np.ndarray, tints: list[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    finite = np.where(np.isfinite(mean_duration), mean_duration, 0.0)
    axis.barh(range(len(finite)), finite, color=tints, height=0.55)
    for state, mean in enumerate(mean_duration):
        text = "without end" if np.isinf(mean) else f"{mean:.3g}"
        axis.annotate(text, (finite[state], state), (4, 0), textcoords="offset points", va="center")
    axis.set_xlim(0, 1.35 * float(finite.max(initial=1.0)))
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.set_xlabel("steps")
    axis.set_title("Expected duration")
    axis.tick_params(left=False)
