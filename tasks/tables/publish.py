"""Publish once: what the table lacks, under this run's ``as_of``, in one commit that carries the run key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.errors import AllQuarantinedError, MisreadError, PipelineError, UnservedError
from tasks.config.meaning import reading, told_changes
from tasks.config.outcome import IN_SHARDS, Finding, Occasion, RunSummary
from tasks.config.patience import PATIENTLY
from tasks.config.settings import Settings
from tasks.source.pieces import pieces
from tasks.source.run_key import run_key
from tasks.source.validate import Validated
from tasks.tables.findings import append_quarantine, read_quarantine
from tasks.tables.names import append_names
from tasks.tables.publishes import newest_summary, shard_summary
from tasks.tables.results import append_results
from tasks.tables.runs import append_run, close_run
from tasks.tables.samples import keep_sample
from tasks.tables.states import n_waiting, publish_states, say_published, unpublished

UNSERVED = ("no_scale", "no_model")  # reasons that a model in force gives, not the rows

_MOST_TOLD = 3

Verdict = Literal["PUBLISHED", "ALREADY_PUBLISHED"]


@dataclass(frozen=True)
class Published:
    """Whether rows were written, and how many."""

    verdict: Verdict
    n_rows: int


def publish(
    decoded: pl.DataFrame,
    validated: Validated,
    settings: Settings,
    key: str,
    summary: RunSummary,
    results: pl.DataFrame | None = None,
) -> Published:
    """Write the rows not yet published for this model, and what was fitted for them, if anything was.

    The state table comes last: its commit is the publish.
    """
    states = settings.output.states
    append_quarantine(states, quarantine_rows(validated, settings, key), key, summary["occasion"])
    if unpublished(states, decoded, settings.name, summary.get("lineage")).is_empty():
        return _nothing_new(validated, settings, key, summary)
    keep_sample(settings, validated, summary["lineage"])
    names = dict(decoded.select("state", "state_name").unique().sort("state").iter_rows())
    append_names(states, names, settings.name, validated.as_of, key)
    if results is not None:
        append_results(states, results, key)
    n_rows = publish_states(states, decoded, settings.name, key, {**summary, "verdict": "PUBLISHED"})
    return Published("PUBLISHED", n_rows) if n_rows else _nothing_new(validated, settings, key, summary)


def publish_before(
    validated: Validated, settings: Settings, key: str, results: pl.DataFrame | None, summary: RunSummary
) -> None:
    """Note what goes before the shards of a run: the series set aside, what was read, and what was fitted, if anything
    was.
    """
    append_quarantine(settings.output.states, quarantine_rows(validated, settings, key), key, summary["occasion"])
    keep_sample(settings, validated, summary["lineage"])
    if results is not None:
        append_results(settings.output.states, results, key)


publish_before_task = task(name="publish", cache_policy=NO_CACHE, **PATIENTLY)(publish_before)


def publish_shard(
    decoded: pl.DataFrame,
    validated: Validated,
    settings: Settings,
    key: str,
    series: Sequence[str],
    summary: RunSummary,
) -> RunSummary:
    """Write the rows of one shard of a run that are not yet published; how many rows, and of how many held series.

    The commit is the shard's own, by its ``series``: a run that was stopped finds it, and what it said. What is read
    before all shards are there are whole series.
    """
    states, own = settings.output.states, f"{key} {hashlib.sha256(json.dumps([*series]).encode()).hexdigest()}"
    said = shard_summary(states, own)
    if said is None:
        names = dict(decoded.select("state", "state_name").unique().sort("state").iter_rows())
        append_names(states, names, settings.name, validated.as_of, own)
        counted = partial(_held, validated)
        publish_states(states, decoded, settings.name, own, {**summary, "verdict": IN_SHARDS}, counted)
        said = shard_summary(states, own) or {}
    return {"n_published": said.get("n_published", 0), "n_held": said.get("n_held", 0)}


publish_shard_task = task(name="publish", cache_policy=NO_CACHE, **PATIENTLY)(publish_shard)


def publish_after(validated: Validated, settings: Settings, key: str, summary: RunSummary) -> Published:
    """Say, after its shards, what a run has published; with that it is done."""
    if not summary["n_published"]:
        return _nothing_new(validated, settings, key, summary)
    say_published(settings.output.states, key, {**summary, "verdict": "PUBLISHED"})
    return Published("PUBLISHED", summary["n_published"])


publish_after_task = task(name="publish", cache_policy=NO_CACHE, **PATIENTLY)(publish_after)


def n_held(new: pl.DataFrame, validated: Validated) -> int:
    """Of how many series with current rows the champion made these."""
    current = new.filter(~pl.col("series_id").is_in(validated.stale["series_id"].implode()))
    return current.filter(pl.col("status") == "HELD")["series_id"].n_unique()


def _held(validated: Validated, new: pl.DataFrame) -> RunSummary:
    return {"n_held": n_held(new, validated)}


@contextmanager
def noted_run(settings: Settings, validated: Validated, key: str) -> Iterator[None]:
    """Notes that a run has begun and, if an exception leaves this context, that it failed and why."""
    states, as_of = settings.output.states, validated.as_of
    append_run(states, settings.name, as_of, key, "RUNNING")
    try:
        yield
    except Exception as error:
        with suppress(PipelineError):
            append_run(states, settings.name, as_of, key, "FAILED", str(error))
        raise


def already_there(validated: Validated, settings: Settings, key: str, summary: RunSummary) -> RunSummary:
    """What a run says that had nothing to publish, and so fitted nothing."""
    append_quarantine(settings.output.states, quarantine_rows(validated, settings, key), key, summary["occasion"])
    newest = newest_summary(settings.output.states, settings.name) or {}
    said: RunSummary = {**summary, "verdict": "ALREADY_PUBLISHED", "model_version": newest.get("model_version")}
    close_run(settings.output.states, settings.name, validated.as_of, key, said)
    return said


def _nothing_new(validated: Validated, settings: Settings, key: str, summary: RunSummary) -> Published:
    said: RunSummary = {**summary, "verdict": "ALREADY_PUBLISHED", "n_published": 0}
    close_run(settings.output.states, settings.name, validated.as_of, key, said)
    return Published("ALREADY_PUBLISHED", 0)


publish_task = task(name="publish", cache_policy=NO_CACHE, **PATIENTLY)(publish)


def require_series(validated: Validated, settings: Settings, key: str, occasion: Occasion) -> None:
    """Raises ``AllQuarantinedError`` if no series is left; the reasons are in the quarantine table by then.

    Of a night whose configuration reads rows otherwise than the newest publish did, nothing is noted: that is no news
    of the source, and its moment may be misread, too. Raises ``MisreadError`` then.
    """
    if not validated.rows.is_empty():
        return
    if occasion == "night" and (changes := _read_otherwise(settings)):
        raise MisreadError(
            f"{str(all_set_aside(validated.quarantine)).rstrip('.')}. Since the newest publish {changes}: undo it, or "
            "choose what fits these rows. Nothing was written."
        )
    found: Finding = "refused" if occasion == "night" else occasion
    append_quarantine(settings.output.states, quarantine_rows(validated, settings, key), key, found)
    raise all_set_aside(validated.quarantine)


def _read_otherwise(settings: Settings) -> str:
    """Which keys that decide what rows can be used have changed since the newest publish, if it says so."""
    before = (newest_summary(settings.output.states, settings.name) or {}).get("reads", {})
    return told_changes(before, {key: value for key, value in reading(settings).items() if key in before})


def all_set_aside(quarantined: pl.DataFrame) -> AllQuarantinedError:
    """That no series is left, with the first reasons."""
    reasons = "; ".join(
        f"{series or '(no name)'}: {reason}, {detail}"
        for series, reason, detail in quarantined.select("series_id", "reason", "detail").head(_MOST_TOLD).iter_rows()
    )
    n_more = len(quarantined) - _MOST_TOLD
    more = "" if n_more <= 0 else f"; and {n_more} more {'reason' if n_more == 1 else 'reasons'}"
    unserved = quarantined["reason"].is_in(UNSERVED).all()
    refusal = UnservedError if unserved else AllQuarantinedError
    return refusal(
        f"all {quarantined['series_id'].n_unique()} series are quarantined, none is left to fit: {reasons}{more}."
    )


def nothing_new(validated: Validated, settings: Settings, lineage: str) -> bool:
    """Whether all rows that a run could publish are there."""
    parts = pieces(to_publish(validated))
    return all(unpublished(settings.output.states, rows, settings.name, lineage).is_empty() for rows in parts)


def to_publish(validated: Validated) -> pl.DataFrame:
    """``series_id``, ``time``, ``status`` and ``as_of`` of the rows that a run could publish."""
    status = (
        pl.when("stale").then(pl.lit("STALE")).when(pl.col("age") == 0).then(pl.lit("OK")).otherwise(pl.lit("MISSING"))
    )
    return validated.rows.select("series_id", "time", status.alias("status"), pl.lit(validated.as_of).alias("as_of"))


def told_waiting(validated: Validated, settings: Settings, lineage: str) -> list[str]:
    """What a user should know who sees nothing published: that values came for rows which stand there without."""
    n = n_waiting(settings.output.states, to_publish(validated), settings.name, lineage)
    return (
        [f"values of {n} rows came after they were published as missing as of this moment; they follow with the next."]
        if n
        else []
    )


def told_behind(settings: Settings, validated: Validated) -> list[str]:
    """What a user should know whose source ends before what is published; for runs that were asked for no moment."""
    newest = newest_summary(settings.output.states, settings.name)
    if newest is None or (then := datetime.fromisoformat(newest["as_of"])) <= validated.as_of:
        return []
    here, there = (settings.source.told(moment) for moment in (validated.as_of, then))
    return [f"the source ends as of {here}, but rows are published as of {there}: look whether newer rows are gone."]


def not_in_force(settings: Settings, validated: Validated) -> list[str]:
    """What a user should know whose changes have nothing to show themselves by: no row is new."""
    newest = newest_summary(settings.output.states, settings.name)
    if newest is None or (then := datetime.fromisoformat(newest["as_of"])) > validated.as_of:
        return []
    if newest["run_key"] == run_key(settings, replace(validated, as_of=then)):
        return []
    return [
        "no row is new, so nothing was fitted: what has changed in configuration, code or older rows since the last "
        "publish shows with the next row, or at once by `hsmm try`, or in a table of its own (`output.states`)."
    ]


def quarantined_again(validated: Validated, settings: Settings, key: str, occasion: Occasion) -> Validated:
    """Besides, what an earlier run of this key set aside because no model served it. That the rows are the same does
    not say that those which cannot be used are.
    """
    states = settings.output.states
    append_quarantine(states, quarantine_rows(validated, settings, key), key, occasion)
    before = read_quarantine(states, settings.name).filter(pl.col("reason").is_in(UNSERVED), run_key=key)
    unserved = before.select(validated.quarantine.columns).unique("series_id", keep="last")
    both = pl.concat([validated.quarantine, unserved]).unique("series_id", keep="first").sort("series_id")
    rows = validated.rows.filter(~pl.col("series_id").is_in(both["series_id"].implode()))
    return replace(validated, rows=rows, quarantine=both)


def quarantine_rows(validated: Validated, settings: Settings, key: str) -> pl.DataFrame:
    """The quarantine table's rows of this run."""
    return validated.quarantine.with_columns(
        as_of=pl.lit(validated.as_of), model_name=pl.lit(settings.name), run_key=pl.lit(key)
    )
