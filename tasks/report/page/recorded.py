"""The page of what is published already: everything is read back from the table, the source and the registry."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import polars as pl

from tasks.config.errors import PipelineError
from tasks.config.meaning import meaning
from tasks.config.outcome import PageSummary, RunSummary
from tasks.config.settings import Settings
from tasks.fitting.bundle import load_bundle
from tasks.registry.client import Registry
from tasks.registry.local import is_there
from tasks.report.page.data import ChosenModel, PageData, chosen_models
from tasks.report.page.overview import Overview
from tasks.report.page.published import published_data, published_overview
from tasks.report.page.quality import balance
from tasks.report.page.render import write_page
from tasks.report.summary import report_folder
from tasks.source.ingest import ingest
from tasks.source.validate import validate
from tasks.tables.publishes import newest_summary
from tasks.tables.results import read_results
from tasks.tables.show import known_rows
from tasks.tracking.results import ranking_of


def recorded_report(settings: Settings, series: str | None = None) -> PageSummary:
    """Write the page beside the newest run's pictures; what it says of itself, its path under ``report``.

    It opens with ``series`` and its model. Raises ``OutputError`` for one that the table does not have.
    """
    if series is not None:
        known_rows(settings, series=series, as_of=None, head=1)
    data = recorded_page_data(settings, series or "")
    newest, counts = data.overview.newest, balance(data)
    path = write_page(data, report_folder(settings, str(newest["run_key"])))
    return {
        "report": str(path),
        "model_name": settings.name,
        "model_version": newest["model_version"],
        "run_key": newest["run_key"],
        "as_of": newest["as_of"].isoformat(),
        "verdict": data.summary.get("verdict"),
        "states_table": settings.output.states,
        "n_series": sum(counts.values()),
        "n_held": counts["held"],
        "n_stale": counts["stale"],
        "n_quarantined": counts["quarantined"],
        "notes": data.notes,
    }


def recorded_page_data(settings: Settings, opens_with: str = "") -> PageData:
    """Raises ``OutputError`` if nothing is published; whatever else is not to be had is said in ``notes``."""
    of_all = published_overview(settings)
    summary = newest_summary(settings.output.states, settings.name) or {}
    notes = [] if summary else ["The newest publish left no summary: verdict and counts are not recorded."]
    features = _features(settings, summary, notes)
    ranking = _ranking(settings, summary, notes)
    models = _models(settings, of_all, notes) if summary else []
    return published_data(settings, summary, of_all, features, ranking, models, notes, opens_with)


def _features(settings: Settings, summary: RunSummary, notes: list[str]) -> pl.DataFrame | None:
    as_of, means = summary.get("as_of"), summary.get("means")
    if means is not None and means != meaning(settings):
        notes.append("The features cannot be shown: the configuration says that rows mean something else than these.")
        return None
    try:
        return validate(ingest(settings, datetime.fromisoformat(as_of) if as_of else None), settings).rows
    except PipelineError as error:
        notes.append(f"The features cannot be shown: {error}")
        return None


def _ranking(settings: Settings, summary: RunSummary, notes: list[str]) -> pl.DataFrame | None:
    """What the newest publish chose among; none where it fitted nothing."""
    if not summary or summary.get("mlflow_run_id") is None:
        return None
    found = read_results(settings.output.states, settings.name).filter(run_key=summary["run_key"])
    if found.is_empty():
        notes.append("The ranking cannot be shown: the table of results has no rows of this run.")
        return None
    return ranking_of(found)


def _models(settings: Settings, of_all: Overview, notes: list[str]) -> list[ChosenModel]:
    uri, version = settings.tracking.uri, of_all.newest["model_version"]
    if not is_there(uri):
        notes.append(f"The model cannot be shown: tracking.uri: found nothing at {uri!r}.")
        return []
    if version is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        try:
            downloaded = Registry(uri, settings.name).download(settings.name, version, Path(folder))
            return chosen_models(load_bundle(downloaded), of_all.standing)
        except (PipelineError, ValueError, OSError, KeyError) as error:
            notes.append(f"Of the registry, the model cannot be shown: {error}")
            return []
