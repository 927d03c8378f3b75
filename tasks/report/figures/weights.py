"""The weights of regressions in each state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from hsmm.plot.style import MUTED, colour
from tasks.report.figures.style import headline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_WEIGHTS = 40


def weights_by_state(table: pl.DataFrame, names: Mapping[int, str]) -> Figure:
    """Estimates with their intervals, column by column, a state beside the other; ``table`` is that of the weights."""
    shown = table.sort("feature", "column", "state", maintain_order=True).head(MOST_WEIGHTS)
    figure = new_figure(9.5, 1.4 + 0.3 * shown.height)
    axis = figure.subplots()
    _draw(axis, shown, list(names))
    axis.set_yticks(range(shown.height), [_label(row, list(names.values())) for row in shown.iter_rows(named=True)])
    axis.set_ylim(shown.height - 0.5, -0.5)
    axis.axvline(0, color=MUTED, linewidth=0.8, zorder=0)
    axis.set_xlabel("weight, with 95 % intervals")
    cut = f", the first {MOST_WEIGHTS} of {table.height}" if table.height > MOST_WEIGHTS else ""
    headline(figure, f"Regressions in each state{cut}")
    return figure


def _draw(axis: Axes, shown: pl.DataFrame, ids: list[int]) -> None:
    for place, row in enumerate(shown.iter_rows(named=True)):
        tint = colour(ids[row["state"]])
        axis.plot([row["low"], row["high"]], [place, place], color=tint, linewidth=2.2, solid_capstyle="butt")
        axis.plot([row["estimate"]], [place], "o", color=tint, markersize=5)


def _label(row: dict[str, str | int], names: list[str]) -> str:
    return f"{row['feature']} on {row['column']}: {names[int(row['state'])]}"
