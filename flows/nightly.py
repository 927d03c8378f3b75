"""The main job: ingest → validate → fit → track → decode → publish → report."""

from __future__ import annotations

from typing import Any

from prefect import flow

from tasks.decode import decode_task
from tasks.fit import check_candidates, fit_task
from tasks.ingest import ingest_task
from tasks.progress import say
from tasks.publish import publish_task, require_series
from tasks.report import pictures_task
from tasks.report_data import ReportData, report_frame
from tasks.run_key import run_key
from tasks.settings import Settings, read_settings
from tasks.storage import check_output, published_summary, read_names
from tasks.summary import describe_best, describe_input, report_folder
from tasks.track import log_verdict, track_task, tracked_run
from tasks.validate import Validated, validate_task


@flow(name="nightly", validate_parameters=True)
def nightly(config: str, as_of: str | None = None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Publish what is new at ``as_of``; the same configuration, rows and moment publish nothing twice."""
    settings = read_settings(config, overrides or ())
    check_output(settings.output.states)
    check_candidates(settings)
    say("ingest")
    ingested = ingest_task(settings, as_of)
    say("validate")
    validated = validate_task(ingested, settings)
    key = run_key(settings, validated)
    summary = describe_input(settings, validated, key)
    published = published_summary(settings.output.states, key)
    if published is not None:
        return {**summary, **published, "verdict": "ALREADY_PUBLISHED", "n_published": 0}
    require_series(validated, settings, key)
    return _fit_and_publish(settings, validated, key, summary)


def _fit_and_publish(settings: Settings, validated: Validated, key: str, summary: dict[str, Any]) -> dict[str, Any]:
    with tracked_run(settings, validated, key) as run:
        fitted = fit_task(validated, settings)
        version = track_task(run, fitted, validated, settings)
        names = read_names(settings.output.states, settings.name)
        decoded = decode_task(fitted, validated, name=settings.name, version=version, key=key, state_names=names)
        summary |= {"mlflow_run_id": run.run_id, "model_version": version, "best": describe_best(fitted)}
        say("publish")
        published = publish_task(decoded, validated, settings, key, summary)
        say("report")
        data = ReportData(
            frame=report_frame(decoded, validated.rows, validated.value_columns),
            value_columns=validated.value_columns,
            ranking=fitted.ranking,
            model=fitted.best,
            criterion=fitted.criterion,
            title=settings.name,
        )
        drawn = pictures_task(data, report_folder(settings, key))
        log_verdict(run, published.verdict, published.n_rows, summary["n_quarantined"], drawn)
    return {**summary, "verdict": published.verdict, "n_published": published.n_rows}
