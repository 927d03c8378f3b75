"""How long states last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hsmm.plot.runs import Runs, observed_survival, runs
from hsmm.plot.style import MUTED, colour
from tasks.report.figures.series import SeriesRows
from tasks.report.figures.style import headline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST_SHARE = 0.005


def dwell_times(series: list[SeriesRows], survival: np.ndarray, names: Mapping[int, str]) -> Figure:
    """The model's P(duration >= n), (n_states, n), against the runs of the decoded paths."""
    path = np.concatenate([rows.path for rows in series])
    series_of_row = np.repeat(np.arange(len(series)), [len(rows.path) for rows in series])
    found = runs(path, series_of_row)
    n_columns = min(len(names), 2)
    n_rows = -(-len(names) // n_columns)
    figure = new_figure(max(5.6 * n_columns, 7.5), 0.6 + 2.9 * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis, law, (state, name) in zip(axes, survival, names.items(), strict=False):
        _panel(axis, found.of(state), law, colour(state))
        axis.set_title(f"{name}: {int((found.state == state).sum()):,} runs")
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].legend(loc="upper right")
    headline(figure, "How long states last: the share of segments with at least n steps")
    return figure


def _panel(axis: Axes, found: Runs, survival: np.ndarray, tint: str) -> None:
    steps = np.arange(1, len(survival) + 1)
    observed = observed_survival(found, len(steps))
    axis.step(steps, observed, where="mid", color=MUTED, linewidth=1.2, label="decoded runs (short visits are merged)")
    axis.plot(steps, survival, color=tint, linewidth=2.2, label="model")
    axis.plot(found.length, np.full(len(found.length), -0.04), "|", color=MUTED, markersize=6, alpha=0.5)
    last = np.flatnonzero((survival > SMALLEST_SHARE) | (np.nan_to_num(observed) > SMALLEST_SHARE))
    axis.set_xlim(0.5, max(last.max(initial=0) + 1.5, 5))
    axis.set_ylim(-0.08, 1.05)
    axis.set_xlabel("n (steps)")
    axis.set_ylabel("P(duration ≥ n)")
