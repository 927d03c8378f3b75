"""What each past day would have known: one night's work for every partition that is not done, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prefect import flow

from flows.nightly import night
from flows.walk_forward import walk_forward as walk
from tasks.alerts.step import note_alerts
from tasks.config.errors import AllQuarantinedError, FitError, GateError, SourceError
from tasks.config.moments import parse_as_of
from tasks.config.outcome import BackfillSummary
from tasks.config.progress import say
from tasks.config.settings import Settings, read_settings
from tasks.registry.local import check_local_database
from tasks.tables.latest import tell_latest
from tasks.tables.partitions import known_later, ledger, partitions, told
from tasks.tables.turns import in_turn

_OF_THE_DATA = (AllQuarantinedError, FitError, GateError, SourceError)


@flow(name="backfill", validate_parameters=True)
def backfill(
    config: str,
    start: str,
    end: str,
    every: str = "1mo",
    overrides: list[str] | None = None,
    *,
    walk_forward: bool = False,
    new_lineage: bool = False,
) -> BackfillSummary:
    """Publish every partition from start to end that the table lacks; what the data do not allow is noted, and skipped.

    Each follows the champion of the one before, as the nights would have, so they are made one after the other. With
    ``walk_forward`` a partition's rows are decoded with what was fitted at the one before.
    """
    settings = read_settings(config, overrides or ())
    counted = settings.source.counts_steps
    first, last = (parse_as_of(day, settings.source.timezone, counted=counted) for day in (start, end))
    moments = partitions(first, last, every, counted=counted)
    check_local_database(settings.tracking.uri)
    with in_turn(settings, alone=True) as turn:
        made = walk if walk_forward else _as_then
        said = made(settings, moments, new_lineage=new_lineage)
        notes = [*turn, *said["notes"]]
        tell_latest(settings, notes)
        return {**said, "notes": notes, "alerts": note_alerts(settings)}


def _as_then(settings: Settings, moments: Sequence[datetime], *, new_lineage: bool) -> BackfillSummary:
    made, failed, notes = 0, dict[str, str](), known_later(settings, moments)
    before = ledger(settings, [*moments])
    for done, (as_of, status) in enumerate(before.select("as_of", "status").iter_rows()):
        say("backfill", done, len(moments), settings.source.told(as_of))
        if status == "DONE":
            continue
        try:
            said = night(settings, as_of, new_lineage=new_lineage, occasion="backfill")
            made, new_lineage = made + said["n_published"], new_lineage and not said["n_published"]
            notes += said["notes"]
        except _OF_THE_DATA as error:
            failed[as_of.isoformat()] = str(error)
    return {
        "model_name": settings.name,
        "states_table": settings.output.states,
        "partitions": [told(row) for row in ledger(settings, [*moments]).iter_rows(named=True)],
        "n_published": made,
        "failed": failed,
        "notes": list(dict.fromkeys(notes)),
    }
