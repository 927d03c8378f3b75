"""What a run says of itself when it is done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

import polars as pl

from tasks.config.durations import typical_length
from tasks.config.meaning import meaning, reading
from tasks.config.outcome import BestCandidate, ChosenCandidate, Occasion, RunSummary
from tasks.config.settings import Settings
from tasks.fitting.candidates import naming
from tasks.fitting.fit import Fitted
from tasks.judgement.champion import Champion
from tasks.judgement.judge import Judged
from tasks.source.ties import told_ties
from tasks.source.validate import Validated
from tasks.source.wild import told_far
from tasks.tables.places import is_local
from tasks.tables.publish import n_held

_MOST_TOLD = 20
_OF_A_SHARD = ("run_key", "model_name", "model_version", "as_of", "occasion", "lineage", "means", "reads", "states")


def report_folder(settings: Settings, key: str) -> Path:
    """Where a run's pictures go: beside the state table, or under ``out`` if that is not on this machine."""
    return beside_states(settings, "_report") / key[:16]


def beside_states(settings: Settings, ending: str) -> Path:
    """A place for what belongs to the state table."""
    states = settings.output.states
    base = states.rstrip("/") if is_local(states) else f"out/{settings.name}"
    return Path(f"{base}{ending}")


def describe_input(
    settings: Settings, validated: Validated, key: str, lineage: str, occasion: Occasion = "night"
) -> RunSummary:
    """What is known before anything is fitted."""
    return {
        "run_key": key,
        "mlflow_run_id": None,
        "model_name": settings.name,
        "model_version": None,
        "verdict": None,
        "states_table": settings.output.states,
        "report": str(report_folder(settings, key)),
        "as_of": validated.as_of.isoformat(),
        "occasion": occasion,
        "lineage": lineage,
        "means": meaning(settings),
        "reads": reading(settings),
        "step": _usual_step(validated, settings),
        "n_published": 0,
        "n_held": 0,
        **describe_quarantine(validated),
        "wild": told_far(validated.rows, settings)[:_MOST_TOLD],
        "ties": told_ties(validated.rows, settings),
        "best": None,
    }


def _usual_step(validated: Validated, settings: Settings) -> float:
    """Seconds from one row of a series to the next, or as long as its calendar has it."""
    calendars = [typical_length(frequency).total_seconds() for frequency in settings.source.frequencies.values()]
    between = validated.rows.select(pl.col("time").diff().over("series_id").median().dt.total_seconds()).item()
    return float(max([*calendars, between or 0.0]))


def describe_outcome(
    fitted: Fitted,
    judged: Judged,
    new: pl.DataFrame,
    validated: Validated,
    run_id: str | None,
    version: int | None,
) -> RunSummary:
    """What was fitted and what the gate said of it, and of whose ``new`` rows the champion made some.

    n_series = published + held + stale + quarantined.
    """
    return {**describe_fitted(fitted, judged, validated, run_id, version), "n_held": n_held(new, validated)}


def describe_fitted(
    fitted: Fitted, judged: Judged, validated: Validated, run_id: str | None, version: int | None
) -> RunSummary:
    """What was fitted and what the gate said of it."""
    return {
        "mlflow_run_id": run_id,
        "model_version": version,
        "best": _best(fitted),
        "chosen": _chosen(fitted),
        "device": fitted.device,
        **describe_quarantine(validated),
        **judged.summary(),
    }


def describe_shard(summary: RunSummary) -> RunSummary:
    """What the publish of a shard says of its run, which is not done: that it can be told, followed and settled."""
    told = {name: summary[name] for name in _OF_A_SHARD if name in summary}  # type: ignore[literal-required]
    if "gate" in summary:
        told["gate"] = {"verdict": summary["gate"]["verdict"], "reasons": [], "evidence": {}, "passed": {}}
    return cast(RunSummary, told)


def describe_decoded(champion: Champion, validated: Validated) -> RunSummary:
    """Which model decoded."""
    return {
        "model_version": champion.version,
        **describe_quarantine(validated),
    }


def describe_quarantine(validated: Validated) -> RunSummary:
    """How many series there are; how many were set aside or have ended, the first of them, and why and when."""
    stale = validated.stale.join(validated.rows, on="series_id", how="semi").sort("age", maintain_order=True)
    return {
        "n_series": validated.rows["series_id"].n_unique() + len(validated.quarantine),
        "n_stale": len(stale),
        "stale": stale.with_columns(pl.col("last").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_dicts(),
        "n_quarantined": len(validated.quarantine),
        "quarantined": validated.quarantine.select("series_id", "reason", "detail").head(_MOST_TOLD).to_dicts(),
    }


def _best(fitted: Fitted) -> BestCandidate | None:
    """The chosen candidate and what it was chosen by; None where every series has its own."""
    if len(fitted.units) != 1:
        return None
    (unit,) = fitted.units.values()
    row = unit.best.row
    best: BestCandidate = {
        "criterion": fitted.criterion,
        "score": row[fitted.criterion],
        "log_likelihood": row["log_likelihood"],
    }
    return cast(BestCandidate, {**naming(row), **best})


def _chosen(fitted: Fitted) -> list[ChosenCandidate]:
    """What was chosen, by how many models: that of most first."""
    counted = Counter(tuple(naming(unit.best.row).items()) for unit in fitted.units.values())
    return [cast(ChosenCandidate, {**dict(names), "n_models": n}) for names, n in counted.most_common()]
