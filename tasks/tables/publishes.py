"""What the publishes of a state table said of themselves, in the commits of its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import polars as pl
from deltalake import DeltaTable

from tasks.config.columns import RUN_COLUMNS, STATE_COLUMNS
from tasks.config.outcome import RunSummary
from tasks.tables.commit import RUN_KEY, SUMMARY
from tasks.tables.places import runs_table
from tasks.tables.storage import DTYPES, history, open_table


def published_summary(states: str, key: str) -> RunSummary | None:
    """What the run of this key said when it was done; ``None`` if it was not, empty if its words are gone."""
    for location, columns in ((states, STATE_COLUMNS), (runs_table(states), RUN_COLUMNS)):
        table = open_table(location, columns)
        if table is not None and table.transaction_version(key) is not None:
            own = (summary for commit, summary in _told(table) if commit.get(RUN_KEY) == key)
            return next(own, RunSummary())
    return None


def shard_summary(states: str, key: str) -> RunSummary | None:
    """What the publish of one shard said of itself; ``None`` if it was not made."""
    table = open_table(states, STATE_COLUMNS)
    if table is None or table.transaction_version(key) is None:
        return None
    own = (json.loads(commit[SUMMARY]) for commit in history(table) if commit.get(RUN_KEY) == key)
    return next(own, RunSummary())


def newest_summary(states: str, model_name: str) -> RunSummary | None:
    """What this model's newest publish said of itself; ``None`` if the table holds no such words."""
    return next(summaries(states, model_name), None)


def last_version(states: str, model_name: str) -> int:
    """The greatest version that a publish of this model was made with; 0 if there is none."""
    return max((summary.get("model_version") or 0 for summary in summaries(states, model_name)), default=0)


def summaries(states: str, model_name: str) -> Iterator[RunSummary]:
    """What every publish of a model said of itself, newest first."""
    table = open_table(states, STATE_COLUMNS)
    yield from () if table is None else said_by(table, model_name)


def said_by(table: DeltaTable, model_name: str) -> Iterator[RunSummary]:
    """What every publish of a model into a state table said of itself, newest first."""
    return (summary for _, summary in _told(table) if summary.get("model_name") == model_name)


def nights_made(states: str, model_name: str, n_most: int) -> list[tuple[datetime, RunSummary]]:
    """When the newest publishes of a model's nights were made, newest first, and what they said of themselves."""
    table = open_table(states, STATE_COLUMNS)
    told = [] if table is None else _told(table)
    own = ((at, said) for at, said in told if (said.get("model_name"), said.get("occasion")) == (model_name, "night"))
    return [(datetime.fromtimestamp(commit["timestamp"] / 1000, UTC), said) for commit, said in islice(own, n_most)]


def read_publishes(states: str, model_name: str) -> pl.DataFrame:
    """This model's publishes, oldest first: ``order`` (the version of the table that each made), ``run_key``,
    ``as_of``, ``lineage``, ``occasion``, the ``gate``'s verdict (null where nothing was judged) and its ``reasons``.
    """
    table = open_table(states, STATE_COLUMNS)
    told = [] if table is None else list(_told(table))
    return pl.DataFrame(
        [
            {
                "order": commit["version"],
                "run_key": said["run_key"],
                "as_of": datetime.fromisoformat(said["as_of"]),
                "lineage": said.get("lineage"),
                "occasion": said.get("occasion", "night"),
                "gate": said.get("gate", {}).get("verdict"),
                "reasons": json.dumps(said.get("gate", {}).get("reasons", [])),
                "model_version": said.get("model_version"),
            }
            for commit, said in reversed(told)
            if said.get("model_name") == model_name
        ],
        schema={
            "order": pl.Int64(),
            "run_key": pl.String(),
            "as_of": DTYPES["timestamp"],
            "lineage": pl.String(),
            "occasion": pl.String(),
            "gate": pl.String(),
            "reasons": pl.String(),
            "model_version": pl.Int32(),
        },
    )


def _told(table: DeltaTable) -> Iterator[tuple[dict[str, Any], RunSummary]]:
    """Each run's last commit that says something of it, and what; of one that was stopped between shards, a shard's."""
    seen = set[str]()
    for commit in history(table):
        if SUMMARY not in commit:
            continue
        said: RunSummary = json.loads(commit[SUMMARY])
        run_key = str(said.get("run_key", commit["version"]))
        if run_key not in seen:
            seen.add(run_key)
            yield commit, said
