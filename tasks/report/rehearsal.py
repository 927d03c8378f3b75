"""A night without consequences: it fits, judges and draws, and says what a night would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from tasks.alerts.inputs import inputs_drifted, told_drift
from tasks.config.errors import ConfigurationError, GateError, LineageError
from tasks.config.outcome import NightOutlook, TrialSummary
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import Bundle
from tasks.fitting.candidates import check_candidates
from tasks.fitting.decode import decode
from tasks.fitting.fit import Fitted, fit
from tasks.judgement.champion import copied_champion
from tasks.judgement.judge import Judged, judge, unmet, with_unserved
from tasks.judgement.restated import without_restated
from tasks.report.data import report_data
from tasks.report.page.data import chosen_models, page_data
from tasks.report.page.render import write_page
from tasks.report.pictures import pictures
from tasks.report.summary import beside_states, describe_input, describe_outcome
from tasks.source.ingest import ingest
from tasks.source.run_key import run_key
from tasks.source.validate import Validated, validate
from tasks.tables.lineage import lineage
from tasks.tables.lines import NOTHING_FITTED, in_known_order
from tasks.tables.names import read_names
from tasks.tables.output import check_output
from tasks.tables.publish import all_set_aside, quarantine_rows
from tasks.tables.states import unpublished

_WITHOUT_NUMBER = 0
_NOTE = "Tried only: nothing of this is published or registered. Version 0 stands for models that have no number yet."


def rehearse(settings: Settings, as_of: str | None, output: str | None) -> TrialSummary:
    """Fit and judge as a night at ``as_of`` would, draw into a folder, publish and register nothing.

    The champion is the copy that nights leave beside the table. Raises as a night does where it could not even fit.
    What is fitted is kept for a run of the same configuration.
    """
    folder = Path(output) if output is not None else beside_states(settings, "_try")
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--output: {str(folder)!r} is a file; expected a folder for page and pictures.")
    settings = in_known_order(settings)
    check_output(settings.output.states)
    check_candidates(settings)
    say("ingest")
    ingested = ingest(settings, as_of)
    say("validate")
    validated = validate(ingested, settings)
    line, validated, refusal = _line(settings, validated)
    if validated.rows.is_empty():
        raise all_set_aside(validated.quarantine)
    champion = copied_champion(settings, validated.as_of, line)
    fitted = fit(validated, settings, None if champion is None else champion.starts(settings))
    judged = judge(fitted, champion, validated, settings)
    shown = judged.in_force or judged.registered
    if not shown.members:
        raise GateError(f"no candidate can be used. {' '.join(unmet(judged.decisions))}")
    held = judged.held if judged.in_force is not None else {}
    validated = without_restated(with_unserved(validated, shown, judged.decisions), held)
    decoded = _decoded(settings, shown, judged, validated)
    summary = describe_input(settings, validated, run_key(settings, validated), line)
    summary["drift"] = told_drift(inputs_drifted(validated, settings))
    new = unpublished(settings.output.states, decoded, settings.name, line)
    summary |= describe_outcome(fitted, judged, new, validated, None, None)
    drawn = _drawn(settings, {**summary, "verdict": "TRIED"}, shown, judged, fitted, validated, decoded, folder)
    night: NightOutlook = {"would": "REFUSE", "why": refusal} if refusal else _night(judged, new)
    return {**summary, "verdict": "TRIED", "report": str(folder), "pictures": drawn, "night": night}


def _line(settings: Settings, validated: Validated) -> tuple[str, Validated, str | None]:
    """The lineage, the rows, and why a night would refuse to go on in it."""
    try:
        return (*lineage(settings, validated), None)
    except LineageError as error:
        return (*lineage(settings, validated, new=True), str(error).replace(f" {NOTHING_FITTED}", ""))


def _decoded(settings: Settings, shown: Bundle, judged: Judged, validated: Validated) -> pl.DataFrame:
    return decode(
        shown,
        validated,
        name=settings.name,
        version=_WITHOUT_NUMBER,
        key=run_key(settings, validated),
        state_names=read_names(settings.output.states, settings.name),
        held=judged.held if judged.in_force is not None else None,
    )


def _night(judged: Judged, new: pl.DataFrame) -> NightOutlook:
    """What a night would do now, which finds these rows ``new``."""
    if judged.in_force is None:
        return {
            "would": "STOP",
            "why": f"no candidate passes the gate, and there is no champion. {' '.join(unmet(judged.decisions))}",
        }
    if new.is_empty():
        return {"would": "NOTHING", "why": "all of these rows are published"}
    return {"would": "PUBLISH", "n_rows": len(new), "n_series": new["series_id"].n_unique(), "why": judged.verdict}


def _drawn(
    settings: Settings,
    summary: Any,
    shown: Bundle,
    judged: Judged,
    fitted: Fitted,
    validated: Validated,
    decoded: pl.DataFrame,
    folder: Path,
) -> list[str]:
    say("report")
    paths = pictures(report_data(decoded, validated, fitted, replace(judged, in_force=shown), settings), folder)
    models = chosen_models(shown, decoded)
    data = page_data(settings, summary, decoded, validated.rows, fitted.ranking(), models, [_NOTE])
    aside = quarantine_rows(validated, settings, str(summary["run_key"]))
    paths.append(write_page(replace(data, quarantine=aside), folder))
    return [str(path) for path in paths]
