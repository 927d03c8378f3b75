"""How the chosen models of many series spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from hsmm.plot.style import PALETTE
from tasks.report.figures.style import headline, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_BARS = 12


def models(results: pl.DataFrame) -> Figure:
    """The chosen candidates of a table of results: states, laws, verdicts, scores, lead over the second, iterations."""
    chosen, second = results.filter("chosen"), results.filter(candidate=1)
    criterion = str(chosen["criterion"].first())
    figure = new_figure(12, 6.4)
    (states, laws, verdicts), (scores, leads, iterations) = figure.subplots(2, 3)
    _bars(states, chosen["n_states"].cast(pl.String), "states")
    _bars(laws, chosen.select(pl.concat_str("emission", "duration", separator=", ")).to_series(), "law")
    _bars(verdicts, results["verdict"].drop_nulls(), "what the gate said")
    _histogram(scores, chosen["score"], criterion)
    both = chosen.join(second, on="series_id", suffix="_second")
    _histogram(leads, (both["score_second"] - both["score"]).abs(), f"lead over the second in {criterion}")
    _histogram(iterations, chosen["n_iter"].cast(pl.Float64), "iterations of the best restart")
    headline(figure, f"{len(chosen):,} models")
    return figure


def _bars(axis: Axes, values: pl.Series, title: str) -> None:
    counts = values.value_counts(sort=True).head(_MOST_BARS)
    labels = counts[values.name].to_list()
    axis.barh(range(len(labels)), counts["count"].to_numpy(), color=PALETTE[0], height=0.62)
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set_xlabel("models")
    axis.set_title(title)


def _histogram(axis: Axes, values: pl.Series, title: str) -> None:
    known = values.fill_nan(None).drop_nulls()
    axis.hist(known.to_numpy(), bins=30, color=PALETTE[4])
    axis.set_ylabel("models")
    axis.set_title(title)
