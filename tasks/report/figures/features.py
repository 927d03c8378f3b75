"""What each state looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hsmm.plot.style import MUTED, colour
from tasks.report.figures.series import SeriesRows
from tasks.report.figures.style import headline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 3


def features_by_state(series: list[SeriesRows], names: Mapping[int, str]) -> Figure:
    """The spread of every feature in every state, over all series."""
    features = list(series[0].values)
    path = np.concatenate([rows.path for rows in series])
    n_columns = min(len(features), MOST_COLUMNS)
    n_rows = -(-len(features) // n_columns)
    figure = new_figure(max(4.6 * n_columns, 6.5), 0.7 + n_rows * (0.8 + 0.5 * len(names)))
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis, feature in zip(axes, features, strict=False):
        values = np.concatenate([rows.values[feature] for rows in series])
        known = np.isfinite(values)
        _boxes(axis, {state: values[known & (path == state)] for state in names}, names)
        axis.set_xlabel(feature)
    for axis in axes[len(features) :]:
        axis.set_visible(False)
    headline(figure, "What each state looks like: 5, 25, 50, 75, 95 %")
    return figure


def _boxes(axis: Axes, groups: Mapping[int, np.ndarray], names: Mapping[int, str]) -> None:
    look: dict[str, Any] = {
        "showfliers": False,
        "patch_artist": True,
        "widths": 0.6,
        "medianprops": {"color": "black"},
    }
    drawn = axis.boxplot(
        list(groups.values()), orientation="horizontal", tick_labels=list(names.values()), whis=(5, 95), **look
    )
    for state, box in zip(groups, drawn["boxes"], strict=True):
        box.set(facecolor=colour(state), alpha=0.75)
    axis.invert_yaxis()
    if axis.get_xlim()[0] < 0 < axis.get_xlim()[1]:
        axis.axvline(0, color=MUTED, linewidth=0.6, zorder=0)
