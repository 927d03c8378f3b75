"""How the chosen model was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsmm.plot.style import PALETTE
from tasks.report.figures.style import new_figure

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HALVED = "#B8C4CE"
CLOSEST = 1e-3


def restarts(history: np.ndarray, table: pl.DataFrame) -> Figure:
    """The best restart's climb, ``history`` (n_iter,), and where every restart of ``table`` ended."""
    figure = new_figure(11, 3.8)
    climb, ends = figure.subplots(1, 2)
    _climb(climb, history)
    _ends(ends, table)
    return figure


def _climb(axis: Axes, history: np.ndarray) -> None:
    behind = np.maximum(history.max() - history, CLOSEST)
    axis.plot(np.arange(len(history)), behind, color=PALETTE[0], linewidth=1.8)
    axis.set_yscale("log")
    axis.invert_yaxis()
    axis.set_xlabel("iteration")
    axis.set_ylabel("nats below the end (top: 0.001 or less)")
    axis.set_title(f"The best restart's climb to {history.max():,.1f}")


def _ends(axis: Axes, table: pl.DataFrame) -> None:
    ordered = table.sort("objective", descending=True)
    objective = ordered["objective"].to_numpy()
    place = np.arange(1, len(objective) + 1)
    behind = np.maximum(objective[0] - objective, CLOSEST)
    halved = ordered["stopped"].to_numpy() == "halved"
    axis.plot(place[~halved], behind[~halved], "o", color=PALETTE[0], label="ran to the end")
    axis.plot(place[halved], behind[halved], "o", color=HALVED, label="stopped early")
    axis.set_yscale("log")
    axis.invert_yaxis()
    axis.set_xlabel("restart, best first")
    axis.set_ylabel("nats below the best (top: 0.001 or less)")
    axis.set_title("Where the restarts ended")
    axis.legend(loc="lower left")
