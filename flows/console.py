"""What commands say when they are done, on standard output."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.config.moments import in_steps
from tasks.config.outcome import (
    AlertsSummary,
    BackfillSummary,
    CausalityReport,
    GateOutcome,
    LookSummary,
    RuleStatement,
    RunSummary,
    TrialSummary,
)
from tasks.config.rule_words import rule_sentences
from tasks.config.secrets import without_secrets
from tasks.config.telling import TRACKING_AWAY, told_gate

if TYPE_CHECKING:
    from tasks.config.settings import Settings

_MOST_TOLD = 5
_MIDNIGHT = "T00:00:00+00:00"
_OLD = ("HISTORY", "BACKFILL")


def print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _print_lines(lines: Iterable[str], *, counted: bool) -> None:
    text = "\n".join(lines)
    print_line(in_steps(text) if counted else text)


def print_run(summary: RunSummary, settings: Settings) -> None:
    best, table = summary["best"], summary["states_table"]
    lines = [_verdict(summary), *_model(summary, f" version {summary.get('model_version')}")]
    if device := summary.get("device"):
        lines.append(f"fitted on  {device}")
    if gate := summary.get("gate"):
        lines.append(f"gate       {_gate(gate, summary)}")
        lines += [f"           {remedy}" for remedy in gate.get("remedies", [])]
    if best and (Path(summary["report"]) / "states.png").is_file():
        lines.append(f"pictures   {summary['report']}/states.png and others beside it")
    if summary["mlflow_run_id"]:
        run = f"experiment {summary['model_name']}, run {summary['mlflow_run_id']}"
        away = any(note.startswith(TRACKING_AWAY) for note in summary.get("notes", []))
        where = "its server does not answer now" if away else f"to look at it: {_ui(settings.tracking.uri)}"
        lines.append(f"MLflow     {run}; {where}")
    lines.append(f'states     {table}; to read it: pl.read_delta("{table}")')
    if summary.get("n_stale"):
        lines.append(f"stale      {summary['n_stale']} series without values for long")
        ended = summary["stale"][:_MOST_TOLD]
        lines += [f"           {one['series_id']}: the last of {one['last']}, {one['age']} steps ago" for one in ended]
    if summary["n_quarantined"]:
        lines.append(f'quarantine {summary["n_quarantined"]} series; all of them: pl.read_delta("{table}_quarantine")')
        lines += _aside(summary)
    lines += [*_drift(summary), *_wild(summary), *_ties(summary)]
    lines += [f"note       {note}" for note in summary.get("notes", [])]
    lines += [*_rule(summary.get("rule", {})), *_alerts(summary.get("alerts", {}))]
    _print_lines(lines, counted=settings.source.counts_steps)


def _rule(said: RuleStatement) -> list[str]:
    return [f"{'rule' if not place else '':11}{told}" for place, told in enumerate(rule_sentences(said))]


def _alerts(said: AlertsSummary) -> list[str]:
    lines = []
    if said.get("n_new"):
        lines.append(
            f"alerts     {said['n_new']} new, {said['n_open']} open; to list them: hsmm alerts, with this configuration"
        )
        told = [one for one in said["new"] if one["delivery"] not in _OLD][-_MOST_TOLD:]
        lines += [f"           {one['series_id'] or 'all'}: {one['kind']}, {one['detail']}" for one in told]
    if said.get("failed"):
        lines.append(f"           not all are told: {said['failed']}")
    return lines


def print_try(said: TrialSummary, *, counted: bool) -> None:
    night, n_usable = said["night"], said["n_series"] - said["n_quarantined"]
    would = {
        "PUBLISH": "publish {n_rows} rows of {n_series} series ({why})",
        "NOTHING": "write nothing: {why}",
        "STOP": "stop: {why}",
        "REFUSE": "refuse: {why}",
    }[night["would"]].format(**night)
    first = f"TRIED: {n_usable} of {said['n_series']} series as of {said['as_of']}, in {said['seconds']:.0f} s; "
    lines = [f"{first}nothing is published or registered.", *_model(said)]
    if gate := said.get("gate"):
        lines.append(f"gate       of what is tried: {told_gate(gate)}")
        lines += [f"           {remedy}" for remedy in gate.get("remedies", []) if night["would"] != "STOP"]
    lines.append(f"a night    would {would}")
    lines.append(f"page       {said['report']}/report.html, and pictures beside it")
    if said["n_quarantined"]:
        lines += [f"set aside  {said['n_quarantined']} series", *_aside(said)]
    lines += [*_drift(said), *_wild(said), *_ties(said)]
    _print_lines(lines, counted=counted)


def _model(summary: Mapping[str, Any], version: str = "") -> list[str]:
    """What was chosen, and by what; where every series has its own, by how many."""
    best, named = summary["best"], f"model      {summary['model_name']}{version}: "
    if not best:
        chosen = summary.get("chosen", [])
        told = [f"           {one['n_models']} of {_law(one)}" for one in chosen]
        return [f"{named}one each for {sum(one['n_models'] for one in chosen)} series", *_few(told)] if chosen else []
    law = _law(best) + ("; every row is of it, and nothing changes" if best["n_states"] == 1 else "")
    scores = f"{best['criterion']} {_score(best['score'])}, log-likelihood {best['log_likelihood']:.1f}"
    return [f"{named}{law}", f"           {scores}"]


def _law(chosen: Mapping[str, Any]) -> str:
    states = "1 state" if chosen["n_states"] == 1 else f"{chosen['n_states']} states"
    lasting = "" if chosen["duration"] == "none" else f", {chosen['duration']} duration"
    return f"{states}, {chosen['emission']} emission{lasting}"


def _few(lines: list[str]) -> list[str]:
    return [*lines[:_MOST_TOLD], *(["           and others"] if len(lines) > _MOST_TOLD else [])]


def _aside(summary: Mapping[str, Any]) -> list[str]:
    """The first series that were set aside, and why."""
    told = summary.get("quarantined", [])[:_MOST_TOLD]
    return [f"           {one['series_id'] or '(no name)'}: {one['reason']}, {one['detail']}" for one in told]


def _drift(summary: Mapping[str, Any]) -> list[str]:
    """Inputs that are no longer what they were."""
    told = summary.get("drift", [])
    if not told:
        return []
    first = [f"{one['series_id']}: {one['detail']}" for one in told[:_MOST_TOLD]]
    return ["drift      inputs that are no longer what they were", *(f"           {one}" for one in first)]


def _wild(summary: Mapping[str, Any]) -> list[str]:
    """Values that no state could be of: no model learns from them, and their rows say so."""
    told = summary.get("wild", [])
    if not told:
        return []
    first = [f"{one['feature']} of {one['series_id']} at {one['time']}: {one['value']:.4g}" for one in told]
    lines = ["wild       values so far from all others, and so few, that nothing is learnt from them; true, or wrong?"]
    return [*lines, *(f"           {one}" for one in first[:_MOST_TOLD])]


def _ties(summary: Mapping[str, Any]) -> list[str]:
    """Values that most rows share, and the law that has room for them."""
    lines = list[str]()
    for one in summary.get("ties", []):
        told = (
            f"{one['feature']} is {one['value']:g} in {one['share']:.0%} of the rows: a state may live on these alone"
        )
        instead = f'; where they mean "none", try model.emission = "{one["instead"]}"' if one["instead"] else ""
        lines.append(f"{'ties' if not lines else '':11}{told}{instead}")
    return lines


def _score(score: float | None) -> str:
    """One digit of a criterion that grows with the rows, four of nats per row."""
    if score is None:
        return "unknown"
    return f"{score:.1f}" if abs(score) >= 100.0 else f"{score:.4f}"


def _verdict(summary: RunSummary) -> str:
    if summary["verdict"] == "ALREADY_PUBLISHED":
        rows = f"the rows of {summary['model_name']} as of {summary['as_of']}"
        return f"ALREADY_PUBLISHED: {rows} are there; nothing was written."
    return (
        f"PUBLISHED: {summary['n_published']} rows of {summary['n_series'] - summary['n_quarantined']} series "
        f"as of {summary['as_of']}, in {summary['seconds']:.0f} s."
    )


def _gate(gate: GateOutcome, summary: RunSummary) -> str:
    if gate["verdict"] == "PROMOTE":
        return f"PROMOTE: the champion as of {summary['as_of'].removesuffix(_MIDNIGHT)}"
    held = f"; {summary['n_held']} series stay with the champion" if summary["n_held"] else ""
    return f"{told_gate(gate)}{held}"


def print_look(said: LookSummary) -> None:
    config, every = said["config"], said["frequency"]
    calendar = f", a row every {every}" if isinstance(every, str) else ""
    of_series = f" of {said['n_series']} series" if said["n_series"] else ""
    lines = [f"{config} is written: {said['n_rows']} rows{of_series}{calendar}."]
    lines.append(f"features   {', '.join(said['features'])}")
    lines += [f"decide     {key}: {why}" for key, why in said["decide"].items()]
    if said["refusal"]:
        lines.append(f"           as it stands a night says: {said['refusal']}")
    if said["n_quarantined"]:
        lines.append(
            f"set aside  {said['n_quarantined']} of {said['n_series']} series, unless the source or its policies change"
        )
        lines += _aside(said)
    lines.append(f"next       hsmm try {config} fits and draws; hsmm run {config} publishes")
    print_line("\n".join(lines))


def print_check(said: CausalityReport, *, counted: bool) -> None:
    """Where steps are ``counted``, moments are their numbers."""
    verdict = "causal: no bit changed" if said["is_causal"] else "NOT causal"
    lines = [f"{verdict}, in {said['n_compared']} rows at {said['n_cuts']} cuts of the source."]
    for leak in said["leaks"]:
        where = " ".join(filter(None, (leak["series_id"], leak["time"])))
        lines.append(f"leak       {leak['what']} {where} with the source cut at {leak['cut']}".replace("  ", " "))
    _print_lines(lines, counted=counted)


def print_backfill(summary: BackfillSummary, *, counted: bool) -> None:
    """Where steps are ``counted``, moments are their numbers."""
    counts: dict[str, int] = {}
    for partition in summary["partitions"]:
        counts[partition["status"]] = counts.get(partition["status"], 0) + 1
    told = ", ".join(f"{n} {status.lower()}" for status, n in sorted(counts.items()))
    lines = [f"{len(summary['partitions'])} partitions: {told}; {summary['n_published']} rows published now."]
    failed = list(summary["failed"].items())[:_MOST_TOLD]
    lines += [f"failed     {as_of if counted else as_of[:10]}: {reason}" for as_of, reason in failed]
    lines += [f"note       {note}" for note in summary.get("notes", [])]
    table = summary["states_table"]
    lines.append(f'states     {table}; to read it: pl.read_delta("{table}")')
    _print_lines(lines, counted=counted)


def _ui(tracking_uri: str) -> str:
    if tracking_uri.startswith("http"):
        return without_secrets(tracking_uri)
    program = "mlflow" if shutil.which("mlflow") else os.path.relpath(Path(sys.executable).with_name("mlflow"))
    return f"{program} ui --host 127.0.0.1 --backend-store-uri {without_secrets(tracking_uri)}"
