"""The page of what is published already: everything is read back from the table, the source and the registry."""

from __future__ import annotations

import tempfile
from dataclasses import replace
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
from tasks.report.page.data import ChosenModel, PageData, chosen_models, page_data
from tasks.report.page.quality import balance
from tasks.report.page.render import write_page
from tasks.report.summary import report_folder
from tasks.source.ingest import ingest
from tasks.source.validate import validate
from tasks.tables.publishes import newest_summary
from tasks.tables.show import known_rows

_LARGEST_RANKING = 1 << 24


def recorded_report(settings: Settings, series: str | None = None) -> PageSummary:
    """Write the page beside the newest run's pictures; what it says of itself, its path under ``report``.

    It opens with ``series`` and its model. Raises ``OutputError`` for one that the table does not have.
    """
    if series is not None:
        known_rows(settings, series=series, as_of=None, head=1)
    data = replace(recorded_page_data(settings), opens_with=series or "")
    newest, counts = data.rows.sort("as_of").row(-1, named=True), balance(data)
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


def recorded_page_data(settings: Settings) -> PageData:
    """Raises ``OutputError`` if nothing is published; whatever else is not to be had is said in ``notes``."""
    rows = known_rows(settings, series=None, as_of=None, head=None)
    summary = newest_summary(settings.output.states, settings.name) or {}
    notes = [] if summary else ["The newest publish left no summary: verdict and counts are not recorded."]
    features = _features(settings, summary, notes)
    ranking, models = _from_registry(settings, summary, rows, notes)
    return page_data(settings, summary, rows, features, ranking, models, notes)


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


def _from_registry(
    settings: Settings, summary: RunSummary, rows: pl.DataFrame, notes: list[str]
) -> tuple[pl.DataFrame | None, list[ChosenModel]]:
    uri, run_id, version = settings.tracking.uri, summary.get("mlflow_run_id"), newest_version(rows)
    if not summary:
        return None, []
    if not is_there(uri):
        notes.append(f"The model and the ranking cannot be shown: tracking.uri: found nothing at {uri!r}.")
        return None, []
    ranking, models = None, list[ChosenModel]()
    with tempfile.TemporaryDirectory() as folder:
        try:
            registry = Registry(uri, settings.name)
            if run_id is not None:
                ranking = _ranking(registry.download_artifact(run_id, "ranking.csv", Path(folder)))
            if version is not None:
                bundle = load_bundle(registry.download(settings.name, version, Path(folder) / "bundle"))
                models = chosen_models(bundle, rows)
        except (PipelineError, ValueError, OSError, KeyError, pl.exceptions.PolarsError) as error:
            what = "the model" if ranking is not None else "the ranking and the model"
            notes.append(f"Of the registry, {what} cannot be shown: {error}")
    return ranking, models


def _ranking(path: Path) -> pl.DataFrame:
    if path.stat().st_size > _LARGEST_RANKING:
        raise ValueError(f"ranking.csv has {path.stat().st_size} bytes; at most {_LARGEST_RANKING} are read.")
    return pl.read_csv(path, schema_overrides={"warnings": pl.String})


def newest_version(rows: pl.DataFrame) -> int | None:
    """The version that made the newest rows, which is not the newest run's own where its model was held."""
    version = rows.sort("as_of", maintain_order=True)["model_version"][-1]
    return None if version is None else int(version)
