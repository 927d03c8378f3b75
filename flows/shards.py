"""A night of many series: fitted, decoded and published shard after shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flows.runners import chosen_runner, fit_beside
from tasks.alerts.statement import Observed, observed, stated_task
from tasks.config.outcome import RunSummary
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.bundle import Bundle
from tasks.fitting.decode import Decoded, decode_task
from tasks.fitting.fit import Fitted, gathered, training_rows
from tasks.fitting.scaling import scaling_for
from tasks.judgement.champion import Champion
from tasks.judgement.judge import Judged, judge_task
from tasks.judgement.shards import fit_shard_task, read_shards, rows_of_shards, write_shards
from tasks.report.data import drawn_rows
from tasks.report.summary import describe_shard
from tasks.source.validate import Validated
from tasks.tables.names import read_names
from tasks.tables.publish import Published, publish_after_task, publish_before_task, publish_shard_task
from tasks.tracking.results import Results


def fit_and_judge_shards(
    settings: Settings,
    validated: Validated,
    shards: Sequence[Sequence[str]],
    champion: Champion | None,
    first_id: int,
    key: str,
) -> tuple[Fitted, Judged]:
    """The candidates of all series, each shard fitted unless that is done; what becomes of the best of each."""
    scaling = scaling_for(training_rows(validated), settings)
    folders = write_shards(validated, settings, shards, scaling, champion, key)
    run = chosen_runner(settings, len(shards))
    if run.runner in (None, "sequential"):
        for place, folder in enumerate(folders):
            say("fit", place, len(folders), f"shard {place + 1} of {len(folders)}")
            fit_shard_task(settings, folder)
    else:
        fit_beside(settings, run, folders)
    found = read_shards(folders)
    fitted = gathered(found.units, found.failed, scaling, validated, settings, found.seconds)
    return fitted, judge_task(fitted, champion, validated, settings, first_id, found.examined)


def publish_shards(
    in_force: Bundle,
    judged: Judged,
    validated: Validated,
    shards: Sequence[Sequence[str]],
    settings: Settings,
    summary: RunSummary,
    found: Results,
) -> tuple[Published, RunSummary, Decoded]:
    """Decode and publish shard after shard, each in a commit of its own, and say so in the last.

    Returns what was published, what the run says of it, and the rows that pictures are drawn from.
    """
    key, version = summary["run_key"], summary["model_version"]
    assert version is not None
    names = read_names(settings.output.states, settings.name)
    publish_before_task(validated, settings, key, found, summary)
    seen = list[Observed]()
    shown: Decoded | None = None
    counts: RunSummary = {"n_published": 0, "n_held": 0}
    for place, rows in enumerate(rows_of_shards(validated.rows, shards)):
        decoded = decode_task(
            in_force,
            replace(validated, rows=rows),
            name=settings.name,
            version=version,
            key=key,
            state_names=names,
            held=judged.held,
        )
        said = publish_shard_task(decoded, validated, settings, key, place, describe_shard(summary))
        counts = {name: counts[name] + said[name] for name in counts}  # type: ignore[literal-required, assignment]
        seen.append(observed(decoded, validated, settings))
        shown = drawn_rows(shown, decoded)
    summary = {**summary, **counts}
    if summary["occasion"] == "night":
        summary["rule"] = stated_task(in_force, seen, validated, settings)
    say("publish")
    assert shown is not None
    return publish_after_task(validated, settings, key, summary), summary, shown
