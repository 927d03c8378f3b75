"""How the candidates of a selection compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hsmm.plot.style import PALETTE, axes_or_new, bare_edges
from hsmm.selection import Selection
from hsmm.spelling import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CANDIDATES = 20


def ranking(selection: Selection, *, most: int = MOST_CANDIDATES, ax: Axes | None = None) -> Axes:
    """The candidates of :func:`hsmm.select_model`, best on top, by their distance from the best."""
    shown = min(most, len(selection.table))
    ax = axes_or_new(ax, 8.0, 1.0 + 0.36 * shown)
    ranking_bars(ax, selection.table, selection.criterion, most)
    return ax


def ranking_bars(ax: Axes, table: pl.DataFrame, criterion: str, most: int = MOST_CANDIDATES) -> None:
    """A bar for each of the first candidates of a ranked table."""
    shown = table.head(most)
    scores = shown[criterion].cast(pl.Float64).fill_null(np.nan).to_numpy()
    behind = np.nan_to_num(np.abs(scores - scores[0]))
    labels = [_label(row) for row in shown.iter_rows(named=True)]
    ax.barh(range(len(labels)), behind, color=PALETTE[4], height=0.62)
    for place, score in enumerate(scores):
        text = _score_text(score, behind[place], place)
        ax.annotate(text, (behind[place], place), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(labels)), labels)
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.invert_yaxis()
    ax.set_xlim(0, 1.18 * float(behind.max(initial=0.0)) or 1.0)
    ax.set_xlabel(f"{criterion}, distance from the best")
    ax.tick_params(left=False)
    ax.set_title(_title(table, criterion, most), loc="left")
    bare_edges(ax)


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
