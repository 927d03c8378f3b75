"""Rows decoded and published: all at once, or of a night of many series shard after shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from tasks.alerts.statement import Observed, observed, stated_task
from tasks.config.outcome import RunSummary
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import Bundle
from tasks.fitting.decode import Decoded, decode_task
from tasks.judgement.shards import rows_of_shards, series_of_shards
from tasks.report.data import drawn_rows
from tasks.report.summary import describe_shard
from tasks.source.validate import Validated
from tasks.tables.names import read_names
from tasks.tables.publish import (
    Published,
    n_held,
    publish_after_task,
    publish_before_task,
    publish_shard_task,
    publish_task,
)
from tasks.tables.states import unpublished
from tasks.tracking.results import Results


def decode_and_publish(
    in_force: Bundle,
    validated: Validated,
    settings: Settings,
    summary: RunSummary,
    *,
    held: Mapping[str, str] | None = None,
    found: Results | None = None,
    later: Callable[[Decoded], Decoded] = lambda decoded: decoded,
) -> tuple[Published, RunSummary, Decoded]:
    """What was published, what the run says of it, and the rows that pictures are drawn from.

    ``held`` says by unit why an older model is still in force, ``found`` what was fitted, if anything was; of the
    decoded rows those that ``later`` leaves are published.
    """
    key, version = summary["run_key"], summary["model_version"]
    assert version is not None
    names = read_names(settings.output.states, settings.name)

    def decoded_of(rows: Validated) -> Decoded:
        return later(
            decode_task(in_force, rows, name=settings.name, version=version, key=key, state_names=names, held=held)
        )

    shards = series_of_shards(validated, settings)
    if len(shards) > 1:
        return _in_shards(decoded_of, shards, in_force, validated, settings, summary, found)
    decoded = decoded_of(validated)
    if held:
        new = unpublished(settings.output.states, decoded, settings.name, summary["lineage"])
        summary = {**summary, "n_held": n_held(new, validated)}
    if summary["occasion"] == "night":
        summary = {**summary, "rule": stated_task(in_force, decoded, validated, settings)}
    say("publish")
    return publish_task(decoded, validated, settings, key, summary, found), summary, decoded


def _in_shards(
    decoded_of: Callable[[Validated], Decoded],
    shards: list[list[str]],
    in_force: Bundle,
    validated: Validated,
    settings: Settings,
    summary: RunSummary,
    found: Results | None,
) -> tuple[Published, RunSummary, Decoded]:
    """Each shard in a commit of its own; the last commit says so."""
    key, occasion = summary["run_key"], summary["occasion"]
    publish_before_task(validated, settings, key, found, summary)
    seen = list[Observed]()
    shown: Decoded | None = None
    counts: RunSummary = {"n_published": 0, "n_held": 0}
    for series, rows in zip(shards, rows_of_shards(validated.rows, shards), strict=True):
        own = replace(validated, rows=rows)
        decoded = decoded_of(own)
        said = publish_shard_task(decoded, validated, settings, key, series, describe_shard(summary))
        counts = {name: counts[name] + said[name] for name in counts}  # type: ignore[literal-required, assignment]
        if occasion == "night":
            seen.append(observed(decoded, own, settings))
        shown = drawn_rows(shown, decoded)
    summary = {**summary, **counts}
    if occasion == "night":
        summary["rule"] = stated_task(in_force, seen, validated, settings)
    say("publish")
    assert shown is not None
    return publish_after_task(validated, settings, key, summary), summary, shown
