"""What a run leaves to look at: pictures of the series by state, dwell times, transitions, the ranking; and a page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm.plot.runs import model_survival
from tasks.config.outcome import RunSummary
from tasks.config.settings import Settings
from tasks.config.whole import appearing
from tasks.fitting.bundle import Bundle
from tasks.fitting.decode import default_name
from tasks.report.data import MOST_SERIES, ReportData
from tasks.report.figures.dwell import dwell_times
from tasks.report.figures.features import features_by_state
from tasks.report.figures.models import models
from tasks.report.figures.ranking import ranking
from tasks.report.figures.restarts import restarts
from tasks.report.figures.series import SeriesRows, overview, portrait, series_rows
from tasks.report.figures.style import STYLE
from tasks.report.figures.transitions import transitions
from tasks.report.figures.weights import weights_by_state
from tasks.report.page.data import chosen_models
from tasks.report.page.published import published_data, published_overview
from tasks.report.page.render import write_page
from tasks.report.summary import report_folder
from tasks.source.validate import Validated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 130


def pictures(units: Sequence[ReportData], folder: Path, results: pl.DataFrame | None = None) -> list[Path]:
    """Draws the run into PNG files under ``folder``, created if missing; the main picture comes first.

    The first 12 series are drawn, or where each has a model of its own, the first 12 with their models; with more, the
    page and the table are the place to look. Of the ``results`` of many models, one picture shows how they spread.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with mpl.rc_context(STYLE):
        for name, figure in chain(_figures(units), _spread(results)):
            paths.append(folder / f"{name}.png")
            _lay_out(figure)
            with appearing(paths[-1]) as made:
                figure.savefig(made, dpi=DOTS_PER_INCH)
    return paths


pictures_task = task(name="report", cache_policy=NO_CACHE)(pictures)


def page(
    settings: Settings, summary: RunSummary, validated: Validated, ranking: pl.DataFrame, in_force: Bundle
) -> Path:
    """Write the HTML page of a run that has published, beside its pictures.

    ``summary`` is what the publish said of itself, with ``run_key``; ``in_force`` holds the models that made the rows.
    """
    of_all = published_overview(settings)
    models = chosen_models(in_force, of_all.standing)
    data = published_data(settings, summary, of_all, validated.rows, ranking, models)
    return write_page(data, report_folder(settings, str(summary["run_key"])))


page_task = task(name="page", cache_policy=NO_CACHE)(page)


def _lay_out(figure: Figure) -> None:
    """Once, at the size of the file: a figure that lays itself out as it is saved draws everything twice."""
    figure.set_dpi(DOTS_PER_INCH)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)


def load_matplotlib() -> None:
    """Import matplotlib ahead of its first use."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def _figures(units: Sequence[ReportData]) -> Iterator[tuple[str, Figure]]:
    drawn = [(unit, _series(unit)) for unit in units[:MOST_SERIES]]
    every = [rows for _, series in drawn for rows in series][:MOST_SERIES]
    yield (
        "states",
        overview(every, {k: name for unit, _ in drawn for k, name in state_names(unit).items()}, units[0].title),
    )
    for unit, series in drawn:
        for rows in series[:MOST_SERIES]:
            yield f"states-{_file_name(rows.name)}", portrait(rows, state_names(unit))
    for unit, series in drawn:
        suffix = f"-{_file_name(unit.unit)}" if unit.unit else ""
        for name, figure in _of_unit(unit, series):
            yield f"{name}{suffix}", figure


def _spread(results: pl.DataFrame | None) -> Iterator[tuple[str, Figure]]:
    if results is not None and results["chosen"].sum() > 1:
        yield "models", models(results)


def _of_unit(unit: ReportData, series: list[SeriesRows]) -> Iterator[tuple[str, Figure]]:
    names, model = state_names(unit), unit.model
    yield "features", features_by_state(series, names)
    yield "dwell-times", dwell_times(series, model_survival(model, max_duration=120), names)
    yield "transitions", transitions(model.transition_prob_, model.mean_duration_, names)
    if unit.weights is not None:
        yield "weights", weights_by_state(unit.weights, names)
    yield "ranking", ranking(unit.ranking, unit.criterion)
    if hasattr(model, "restarts_"):
        yield "restarts", restarts(model.history_, model.restarts_)


def state_names(data: ReportData) -> dict[int, str]:
    """Persistent id to name for each of the model's states, in its order; a number where the table has no name."""
    found = data.frame.select("state", "state_name").drop_nulls().unique("state", keep="last")
    named = dict(found.iter_rows())
    return {state: named.get(state) or default_name(state) for state in data.state_ids}


def _series(data: ReportData) -> list[SeriesRows]:
    chosen = data.frame["series_id"].unique(maintain_order=True).head(MOST_SERIES)
    frame = data.frame.filter(pl.col("series_id").is_in(chosen.implode()))
    return series_rows(frame, data.value_columns, max(data.state_ids) + 1, counted=data.counted)


def _file_name(series: str) -> str:
    """``series`` where it is a plain word; otherwise its plain part and a digest: no two series collide."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", series):
        return series
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", series)[:40].strip("-")
    return f"{plain}-{hashlib.sha256(series.encode()).hexdigest()[:8]}"
