"""Walk-forward: what is fitted at one moment decodes the rows that become available until the next, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from flows.decoding import decode_rows
from flows.nightly import fit_and_judge, register
from tasks.config.errors import (
    AllQuarantinedError,
    ConfigurationError,
    FitError,
    GateError,
    NoChampionError,
    SourceError,
)
from tasks.config.outcome import BackfillSummary
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.candidates import check_candidates
from tasks.fitting.finished import Store
from tasks.judgement.promote import settle_task
from tasks.registry.local import check_local_database
from tasks.report.summary import describe_fitted, describe_input
from tasks.source.ingest import ingest_task
from tasks.source.run_key import run_key
from tasks.source.validate import validate_task
from tasks.tables.lineage import lineage
from tasks.tables.lines import in_known_order
from tasks.tables.output import check_output
from tasks.tables.partitions import ledger, told
from tasks.tables.publish import require_series
from tasks.tables.results import append_results
from tasks.tables.states import require_out_of_sample
from tasks.tracking.track import tracked_run

_OF_THE_DATA = (AllQuarantinedError, FitError, GateError, SourceError)


def walk_forward(settings: Settings, moments: Sequence[datetime], *, new_lineage: bool = False) -> BackfillSummary:
    """Every stretch from one moment to the next that the table lacks, oldest first; no row of it is in sample.

    The gate, the states' identities and the champion go from fit to fit as they do from night to night. Where nothing
    can be fitted, the model before goes on, and the reason is told.
    """
    if len(moments) < 2:
        raise ConfigurationError(
            "--walk-forward: found one moment from --start to --end; expected two at least, one to fit at and one to "
            "decode to: choose a later --end, or a shorter --every."
        )
    settings = in_known_order(settings)
    check_output(settings.output.states)
    require_out_of_sample(settings.output.states, settings.name)
    failed, notes = dict[datetime, str](), list[str]()
    made, done = 0, ledger(settings, [*moments[1:]])["status"] == "DONE"
    for i, (since, until) in enumerate(pairwise(moments)):
        say("backfill", i, len(done), settings.source.told(until))
        if not done[i]:
            published = _stretch(settings, since, until, failed, notes, new=new_lineage)
            made, new_lineage = made + published, new_lineage and not published
    partitions = ledger(settings, [*moments[1:]]).iter_rows(named=True)
    return {
        "model_name": settings.name,
        "states_table": settings.output.states,
        "partitions": [
            {**told(row), "fitted_as_of": since.isoformat()} for since, row in zip(moments, partitions, strict=False)
        ],
        "n_published": made,
        "failed": {moment.isoformat(): reason for moment, reason in failed.items()},
        "notes": list(dict.fromkeys(notes)),
    }


def _stretch(
    settings: Settings,
    since: datetime,
    until: datetime,
    failed: dict[datetime, str],
    notes: list[str],
    *,
    new: bool,
) -> int:
    """How many rows were published of what became available after ``since``; it is made whole, or again."""
    try:
        _fit(settings, since, notes, new=new)
    except _OF_THE_DATA as error:
        failed[since] = str(error)
    try:
        said = decode_rows(settings, until, since, new_lineage=new)
        notes += said["notes"]
        return said["n_published"]
    except _OF_THE_DATA as error:
        failed[until] = str(error)
    except NoChampionError as error:
        failed.setdefault(since, str(error))
    return 0


def _fit(settings: Settings, as_of: datetime, notes: list[str], *, new: bool) -> None:
    """What a night does before and after it publishes: fit, judge, register, promote."""
    check_local_database(settings.tracking.uri)
    check_candidates(settings)
    say("ingest")
    ingested = ingest_task(settings, as_of)
    say("validate")
    line, validated = lineage(settings, validate_task(ingested, settings), new=new)
    key = run_key(settings, validated)
    require_series(validated, settings, key, "backfill")
    fitted, judged = fit_and_judge(settings, validated, key, line, notes)
    with tracked_run(settings, validated, key) as run:
        version, _, found = register(run, fitted, judged, validated, settings, key, line)
        summary = describe_input(settings, validated, key, line, "backfill")
        summary |= describe_fitted(fitted, judged, validated, run.run_id, version)
        append_results(settings.output.states, found, key)
        settle_task(settings, summary, run.registry)
    Store.of(settings).forget(fitted.keys)
