"""The main job: ingest → validate → fit → gate → track → decode → publish → promote → report."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows.notes import notes_on_rows
from flows.publishing import decode_and_publish
from flows.runners import check_runner
from flows.shards import fit_and_judge_shards
from tasks.alerts.inputs import note_drift_task
from tasks.alerts.step import alert_task, alerted
from tasks.config.aftermath import afterwards
from tasks.config.outcome import Occasion, RunSummary
from tasks.config.progress import say
from tasks.config.settings import Settings, read_settings
from tasks.fitting.bundle import Bundle
from tasks.fitting.candidates import check_candidates
from tasks.fitting.finished import Store
from tasks.fitting.fit import Fitted, fit_task
from tasks.judgement.champion import champion_at, check_followed, jumped_inputs, keep_champion, told_jumps
from tasks.judgement.judge import Judged, judge_task, require_model, with_unserved
from tasks.judgement.promote import settle_again, settle_newest, settle_task, told_kept_elsewhere
from tasks.judgement.restated import without_restated
from tasks.judgement.shards import series_of_shards
from tasks.registry.client import reach_registry
from tasks.registry.local import check_local_database
from tasks.report.announce import announced
from tasks.report.data import report_data
from tasks.report.pictures import page_task, pictures_task
from tasks.report.summary import describe_fitted, describe_input, describe_quarantine, report_folder
from tasks.source.ingest import ingest_task
from tasks.source.run_key import run_key
from tasks.source.validate import Validated, validate_task
from tasks.tables.latest import tell_latest
from tasks.tables.lineage import lineage, out_of_sight
from tasks.tables.lines import in_known_order
from tasks.tables.output import check_output
from tasks.tables.publish import (
    already_there,
    not_in_force,
    noted_run,
    nothing_new,
    quarantined_again,
    require_series,
    told_waiting,
)
from tasks.tables.publishes import published_summary
from tasks.tables.turns import in_turn
from tasks.tracking.results import Results, results
from tasks.tracking.track import TrackedRun, log_outcome, track_task, tracked_run


@flow(name="nightly", validate_parameters=True)
def nightly(
    config: str, as_of: str | None = None, overrides: list[str] | None = None, *, new_lineage: bool = False
) -> RunSummary:
    """Publish what is new at ``as_of``; the same configuration, rows and moment publish nothing twice."""
    settings = read_settings(config, overrides or ())
    check_local_database(settings.tracking.uri)
    with in_turn(settings):
        said = alerted(settings, lambda: night(settings, as_of, new_lineage=new_lineage), alert_task)
        tell_latest(settings, said["notes"])
    return announced(said, settings)


def night(
    settings: Settings, as_of: str | datetime | None, *, new_lineage: bool = False, occasion: Occasion = "night"
) -> RunSummary:
    """One night's work, from rows to published states."""
    settings = in_known_order(settings)
    check_output(settings.output.states)
    check_local_database(settings.tracking.uri)
    check_candidates(settings)
    check_runner(settings.run)
    say("ingest")
    ingested = ingest_task(settings, as_of)
    say("validate")
    line, validated = lineage(settings, validate_task(ingested, settings), new=new_lineage)
    asked = notes_on_rows(ingested, validated, settings, line, new=new_lineage)
    key = run_key(settings, validated)
    summary = describe_input(settings, validated, key, line, occasion)
    summary["drift"] = note_drift_task(validated, settings, key, occasion)
    published = published_summary(settings.output.states, key)
    if published is not None:
        notes = [*asked, *out_of_sight(settings, line), *settle_again(settings, published, key).notes]
        aside = describe_quarantine(quarantined_again(validated, settings, key, occasion))
        return {**summary, **published, **aside, "verdict": "ALREADY_PUBLISHED", "n_published": 0, "notes": notes}
    require_series(validated, settings, key, occasion)
    if nothing_new(validated, settings, line):
        repair = settle_newest(settings, reach_registry(settings.tracking.uri, settings.name))
        return {
            **already_there(validated, settings, key, summary),
            "notes": [
                *asked,
                *out_of_sight(settings, line),
                *told_waiting(validated, settings, line),
                *repair.notes,
                *not_in_force(settings, validated),
            ],
        }
    with noted_run(settings, validated, key):
        return _fit_and_publish(settings, validated, key, summary, asked)


def fit_and_judge(
    settings: Settings, validated: Validated, key: str, line: str, notes: list[str]
) -> tuple[Fitted, Judged]:
    """The candidates, and what becomes of the best of them beside the champion of that moment; ``notes`` grow."""
    registry = reach_registry(settings.tracking.uri, settings.name)
    repair = settle_newest(settings, registry)
    champion = champion_at(registry, settings, validated.as_of, key, line)
    notes += [*repair.notes, *([champion.note] if champion is not None and champion.note else [])]
    notes += told_kept_elsewhere(registry, settings)
    notes += told_jumps(jumped_inputs(champion, validated, settings))
    shards = series_of_shards(validated, settings)
    if len(shards) > 1:
        return fit_and_judge_shards(settings, validated, shards, champion, repair.first_id, key)
    fitted = fit_task(validated, settings, None if champion is None else champion.starts(settings))
    return fitted, judge_task(fitted, champion, validated, settings, repair.first_id)


def register(
    run: TrackedRun, fitted: Fitted, judged: Judged, validated: Validated, settings: Settings, key: str, line: str
) -> tuple[int, Bundle, Results]:
    """The version of the run's models, those in force from then on, and the table of what was found."""
    check_followed(run.registry, settings, validated.as_of, key, judged.champion, line)
    found = results(fitted, judged, validated, settings, key)
    version = track_task(run, fitted, judged, validated, settings, key, line, found)
    return version, require_model(judged, run.run_id), found


def _fit_and_publish(
    settings: Settings, validated: Validated, key: str, summary: RunSummary, asked: list[str]
) -> RunSummary:
    line, notes = summary["lineage"], [*asked]
    fitted, judged = fit_and_judge(settings, validated, key, line, notes)
    with tracked_run(settings, validated, key) as run:
        version, in_force, found = register(run, fitted, judged, validated, settings, key, line)
        validated = without_restated(with_unserved(validated, in_force, judged.decisions), judged.held)
        summary |= describe_fitted(fitted, judged, validated, run.run_id, version)
        summary["mlflow_experiment_id"] = run.registry.experiment_id
        published, summary, shown = decode_and_publish(
            in_force, validated, settings, summary, held=judged.held, found=found
        )
        said = published_summary(settings.output.states, key) or {}
        summary |= {**said, "verdict": published.verdict, "n_published": published.n_rows}
        settle_task(settings, summary, run.registry)
        with afterwards("the champion was not kept beside the table", notes):
            keep_champion(run.registry, settings, validated.as_of, line)
        say("report")
        with afterwards("pictures and page are not all there", notes):
            data = report_data(shown, validated, fitted, judged, settings)
            drawn = pictures_task(data, report_folder(settings, key), found)
            page = page_task(settings, summary, validated, fitted.ranking(), in_force)
            log_outcome(run, summary, [*drawn, page])
    Store.of(settings).forget(fitted.keys)
    return {**summary, "notes": notes}
