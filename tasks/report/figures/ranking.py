"""How the candidates compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsmm.plot.candidates import ranking_bars, ranking_height
from tasks.report.figures.style import new_figure

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


def ranking(table: pl.DataFrame, criterion: str) -> Figure:
    """The candidates by ``criterion``, best on top, as distances from the best."""
    figure = new_figure(9.5, ranking_height(table))
    ranking_bars(figure.subplots(), table, criterion)
    return figure
