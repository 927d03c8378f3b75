"""The champion on new rows: ingest → validate → decode → publish, without a fit."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows.notes import notes_on_rows
from flows.publishing import decode_and_publish
from tasks.alerts.inputs import note_drift_task
from tasks.alerts.step import alert_task, alerted
from tasks.config.outcome import Occasion, RunSummary
from tasks.config.progress import say
from tasks.config.settings import Settings, read_settings
from tasks.fitting.decode import Decoded
from tasks.judgement.champion import jumped_inputs, require_champion, told_jumps
from tasks.judgement.judge import with_unserved
from tasks.judgement.promote import follow_task
from tasks.judgement.restated import without_restated
from tasks.registry.local import check_local_database
from tasks.report.announce import announced
from tasks.report.summary import describe_decoded, describe_input, describe_quarantine
from tasks.source.availability import available_later
from tasks.source.ingest import ingest_task
from tasks.source.run_key import decode_key
from tasks.source.validate import validate_task
from tasks.tables.latest import tell_latest
from tasks.tables.lineage import lineage
from tasks.tables.lines import in_known_order
from tasks.tables.output import check_output
from tasks.tables.publish import quarantined_again, require_series, told_waiting
from tasks.tables.publishes import published_summary
from tasks.tables.turns import in_turn


@flow(name="decode", validate_parameters=True)
def decode_new(
    config: str, as_of: str | None = None, overrides: list[str] | None = None, *, new_lineage: bool = False
) -> RunSummary:
    """Publish the rows that are new at ``as_of`` under the model in force."""
    settings = read_settings(config, overrides or ())
    check_local_database(settings.tracking.uri)
    with in_turn(settings):
        said = alerted(settings, lambda: decode_rows(settings, as_of, new_lineage=new_lineage), alert_task)
        tell_latest(settings, said["notes"])
    return announced(said, settings)


def decode_rows(
    settings: Settings, as_of: str | datetime | None, since: datetime | None = None, *, new_lineage: bool = False
) -> RunSummary:
    """The same; with ``since``, under the model that was in force then, and only rows that became available later."""
    settings = in_known_order(settings)
    check_output(settings.output.states)
    say("ingest")
    ingested = ingest_task(settings, as_of)
    say("validate")
    line, validated = lineage(settings, validate_task(ingested, settings), new=new_lineage)
    notes = notes_on_rows(ingested, validated, settings, line, new=new_lineage)
    champion = require_champion(settings, since or validated.as_of, line)
    key = decode_key(settings, validated, champion.version, since)
    occasion: Occasion = "night" if since is None else "backfill"
    summary = describe_input(settings, validated, key, line, occasion)
    summary["drift"] = note_drift_task(validated, settings, key, occasion)
    said = published_summary(settings.output.states, key)
    if said is not None:
        aside = describe_quarantine(quarantined_again(validated, settings, key, occasion))
        return {**summary, **said, **aside, "verdict": "ALREADY_PUBLISHED", "n_published": 0, "notes": notes}
    require_series(validated, settings, key, occasion)
    validated = with_unserved(validated, champion.in_force(), {})
    if since is None:  # a walk fits its models to the source as it is now
        validated = without_restated(validated)
    require_series(validated, settings, key, occasion)
    summary |= describe_decoded(champion, validated)
    notes += [champion.note] if champion.note else []
    notes += told_jumps(jumped_inputs(champion, validated, settings))

    def later(decoded: Decoded) -> Decoded:
        return decoded if since is None else available_later(decoded, settings.source, ingested, since)

    published, summary, _ = decode_and_publish(champion.in_force(), validated, settings, summary, later=later)
    if published.verdict == "ALREADY_PUBLISHED":
        notes += told_waiting(validated, settings, line)
    if since is None:
        follow_task(settings, summary)
    return {**summary, "verdict": published.verdict, "n_published": published.n_rows, "notes": notes}
