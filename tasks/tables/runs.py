"""The table of what became of each run."""

from __future__ import annotations

import json
from datetime import datetime

import polars as pl

from tasks.config.columns import RUN_COLUMNS
from tasks.config.outcome import IN_SHARDS, RunSummary
from tasks.tables.commit import SUMMARY, commit_rows
from tasks.tables.places import runs_table
from tasks.tables.publishes import summaries
from tasks.tables.storage import DTYPES, rows_at


def append_run(states: str, model_name: str, as_of: datetime, key: str, status: str, detail: str = "") -> None:
    """Note that a run has begun or failed; a run that is done says so by its publish, or by :func:`close_run`."""
    row = {"model_name": model_name, "as_of": as_of, "run_key": key, "status": status, "detail": detail}
    commit_rows(runs_table(states), RUN_COLUMNS, None, lambda _: pl.DataFrame([row]))


def close_run(states: str, model_name: str, as_of: datetime, key: str, summary: RunSummary) -> None:
    """Note that a run is done that had nothing new to publish, so that it is not made again."""
    row = {"model_name": model_name, "as_of": as_of, "run_key": key, "status": "DONE", "detail": "nothing new"}
    said = {SUMMARY: json.dumps(summary)}
    commit_rows(runs_table(states), RUN_COLUMNS, key, lambda _: pl.DataFrame([row]), lambda _: said)


def read_runs(states: str, model_name: str) -> pl.DataFrame:
    """What is known of each ``as_of``: its last status (RUNNING, FAILED, DONE), detail and run key, oldest first.

    A publish in the table's own log counts more than any note.
    """
    notes = rows_at(runs_table(states), RUN_COLUMNS, model_name).with_columns(order=pl.lit(0))
    done = pl.DataFrame(
        [
            {
                "model_name": model_name,
                "as_of": datetime.fromisoformat(summary["as_of"]),
                "run_key": summary["run_key"],
                "status": "DONE",
                "detail": f"{summary['n_published']} rows",
            }
            for summary in summaries(states, model_name)
            if summary.get("verdict") != IN_SHARDS
        ],
        schema={name: DTYPES[kind] for name, kind in RUN_COLUMNS.items()},
    ).with_columns(order=pl.lit(1))
    rank = pl.col("status").replace_strict({"RUNNING": 0, "FAILED": 1, "DONE": 2})
    return (
        pl.concat([notes, done])
        .sort("as_of", rank, "order", maintain_order=True)
        .unique("as_of", keep="last", maintain_order=True)
        .select(*RUN_COLUMNS)
    )
