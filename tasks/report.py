"""Pictures of a run: the series by state, dwell times, transitions, the ranking."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tasks import figures
from tasks.dwell import model_survival
from tasks.report_data import ReportData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SERIES = 12
DOTS_PER_INCH = 130


def pictures(data: ReportData, folder: Path) -> list[Path]:
    """Draws the run into PNG files under ``folder`` (created if missing) and returns them, the main one first.

    The first 12 series are drawn; with more, the table is the place to look.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(figures.STYLE):
        for name, figure in _figures(data):
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=DOTS_PER_INCH)
    return paths


def _figures(data: ReportData) -> Iterator[tuple[str, Figure]]:
    names = state_names(data)
    series = figures.series_rows(_first_series(data), data.value_columns, len(names))
    survival = model_survival(data.model, max_duration=120)
    yield "states", figures.overview(series, names, data.title)
    for rows in series:
        yield f"states-{_file_name(rows.name)}", figures.series_picture(rows, names)
    yield "features", figures.features_by_state(series, names)
    yield "dwell-times", figures.dwell_times(series, survival, names)
    yield "transitions", figures.transitions(np.asarray(data.model.transition_prob_), survival.sum(1), names)
    yield "ranking", figures.ranking(data.ranking, data.criterion)


def state_names(data: ReportData) -> list[str]:
    """Every state's name in the table, or its number where it has none."""
    n_states = len(data.model.transition_prob_)
    found = data.frame.select("state", "state_name").drop_nulls().unique("state", keep="last")
    named = dict(found.iter_rows())
    return [named.get(state) or f"state {state}" for state in range(n_states)]


def _first_series(data: ReportData) -> pl.DataFrame:
    chosen = data.frame["series_id"].unique(maintain_order=True).head(MOST_SERIES)
    return data.frame.filter(pl.col("series_id").is_in(chosen.to_list()))


def _file_name(series: str) -> str:
    """``series`` where it is a plain word; otherwise its plain part and a digest, so that no two series collide."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", series):
        return series
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", series)[:40].strip("-")
    return f"{plain}-{hashlib.sha256(series.encode()).hexdigest()[:8]}"
