"""How the candidates compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.report.figures.style import PALETTE, new_figure

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

MOST_CANDIDATES = 20


def ranking(table: pl.DataFrame, criterion: str) -> Figure:
    """The candidates by ``criterion``, best on top, as distances from the best."""
    shown = table.head(MOST_CANDIDATES)
    scores = shown[criterion].cast(float).fill_null(np.nan).to_numpy()
    behind = np.nan_to_num(np.abs(scores - scores[0]))
    labels = [_label(row) for row in shown.iter_rows(named=True)]
    figure = new_figure(9.5, 1.2 + 0.36 * len(labels))
    axis = figure.subplots()
    axis.barh(range(len(labels)), behind, color=PALETTE[4], height=0.62)
    for place, score in enumerate(scores):
        text = _score_text(score, behind[place], place)
        axis.annotate(text, (behind[place], place), (4, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(labels)), labels)
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.invert_yaxis()
    axis.set_xlim(0, 1.18 * float(behind.max(initial=0.0)) or 1.0)
    axis.set_xlabel(f"{criterion}, distance from the best")
    axis.tick_params(left=False)
    axis.set_title(_title(table, criterion))
    return figure


def _label(row: dict[str, Any]) -> str:
    duration = "HMM" if row["duration"] == "none" else row["duration"]
    return f"{row['n_states']} states · {row['emission']} · {duration}" + (" ⚠" if row["warnings"] else "")


def _score_text(score: float, behind: float, place: int) -> str:
    if np.isnan(score):
        return "no value"
    return f"{score:,.6g}" if place == 0 else f"+{behind:,.4g}"


def _title(table: pl.DataFrame, criterion: str) -> str:
    cut = f", best {MOST_CANDIDATES} of {table.height}" if table.height > MOST_CANDIDATES else ""
    warned = "; ⚠ fitted with warnings" if any(table["warnings"].to_list()) else ""
    return f"Candidates by {criterion}{cut}{warned}"
