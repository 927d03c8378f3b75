"""A night of many series: fitted shard after shard."""

from __future__ import annotations

from collections.abc import Sequence

from flows.runners import chosen_runner, fit_beside
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.fitting.fit import Fitted, gathered, training_rows
from tasks.fitting.scaling import scaling_for
from tasks.judgement.champion import Champion
from tasks.judgement.judge import Judged, judge_task
from tasks.judgement.shards import fit_shard_task, read_shards, write_shards
from tasks.source.validate import Validated


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
