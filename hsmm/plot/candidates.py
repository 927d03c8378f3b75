"""How the candidates of a selection compare."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hsmm.plot.style import PALETTE, axes_or_new, bare_edges
from hsmm.selection import Selection
from hsmm.spelling import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CANDIDATES = 20
_WIDEST = 52
_MOST_LINES = 4


def ranking(selection: Selection, *, most: int = MOST_CANDIDATES, ax: Axes | None = None) -> Axes:
    """The candidates of :func:`hsmm.select_model`, best on top, by their distance from the best."""
    ax = axes_or_new(ax, 8.0, ranking_height(selection.table, most))
    ranking_bars(ax, selection.table, selection.criterion, most)
    return ax


def ranking_height(table: pl.DataFrame, most: int = MOST_CANDIDATES) -> float:
    """How high a figure of :func:`ranking_bars` is to be, in inches."""
    return 1.2 + 0.36 * float(_rows(_labels(table.head(most)))[0].sum())


def ranking_bars(ax: Axes, table: pl.DataFrame, criterion: str, most: int = MOST_CANDIDATES) -> None:
    """A bar for each of the first candidates of a ranked table; long names stand on lines of their own."""
    shown = table.head(most)
    scores = shown[criterion].cast(pl.Float64).fill_null(np.nan).to_numpy()
    behind = np.nan_to_num(np.abs(scores - scores[0]))
    labels = _labels(shown)
    heights, places = _rows(labels)
    ax.barh(places, behind, color=PALETTE[4], height=0.62)
    for rank, (place, score) in enumerate(zip(places, scores, strict=True)):
        text = _score_text(score, behind[rank], rank)
        ax.annotate(text, (behind[rank], place), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(places, labels)
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.set_ylim(float(heights.sum()) - 0.4, -0.6)
    ax.set_xlim(0, 1.28 * float(behind.max(initial=0.0)) or 1.0)
    ax.set_xlabel(f"{criterion}, distance from the best")
    ax.tick_params(left=False)
    ax.set_title(_title(table, criterion, most), loc="left")
    bare_edges(ax)


def _rows(labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """How high each label's row is, in bars, and where its middle lies."""
    heights = np.array([max(1.0, 0.5 * (1 + label.count("\n"))) for label in labels])
    return heights, np.cumsum(heights) - 0.5 * (1.0 + heights)


def _labels(shown: pl.DataFrame) -> list[str]:
    return [_lines(_label(row)) for row in shown.iter_rows(named=True)]


def _lines(text: str) -> str:
    return textwrap.fill(text, _WIDEST, max_lines=_MOST_LINES, placeholder=" …", subsequent_indent="  ")


def _label(row: dict[str, Any]) -> str:
    duration = "HMM" if row["duration"] == "none" else row["duration"]
    return f"{counted(row['n_states'], 'state')} · {row['emission']} · {duration}" + (" ⚠" if row["warnings"] else "")


def _score_text(score: float, behind: float, place: int) -> str:
    if np.isnan(score):
        return "no value"
    return f"{score:,.6g}" if place == 0 else f"+{behind:,.4g}"


def _title(table: pl.DataFrame, criterion: str, most: int) -> str:
    cut = f", best {most} of {table.height}" if table.height > most else ""
    warned = "; ⚠ fitted with warnings" if any(table["warnings"].to_list()) else ""
    return f"Candidates by {criterion}{cut}{warned}"
