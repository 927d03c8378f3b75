"""Whatever holds rows of all series: how far each part of a night raises the peak of memory, without a fit.

python -m benchmarks.rows [--sizes 1000,4000] [--rows 1000]            # figures in results/
python -m benchmarks.rows --one N_SERIES --rows 1000                   # one size, in this process: figures as JSON
"""

# ruff: noqa: T201 - tables on standard output are what it is for

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks import machine, resident
from tasks.alerts.inputs import inputs_drifted
from tasks.alerts.ledger import bring_up
from tasks.config.columns import STATE_COLUMNS
from tasks.config.settings import Settings, read_settings
from tasks.report.page.published import published_overview
from tasks.source.ingest import ingest
from tasks.source.run_key import run_key
from tasks.source.validate import validate
from tasks.tables.states import publish_states, read_states_of
from tasks.tables.storage import DTYPES

RESULTS = Path(__file__).parent / "results"
N_DRAWN = 80
_AT_ONCE = 500
_CONFIG = """
name = "rows"
[source]
path = "source.parquet"
series = "series"
time = "time"
frequency = "1h"
[features]
x = { op = "identity", column = "x" }
[fit]
pool = "per_series"
[output]
states = "states"
"""
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def parts(n_series: int, n_rows: int) -> dict[str, dict[str, float]]:
    """CPU seconds, megabytes before, and by how many each part raises the peak; in a folder of its own."""
    found: dict[str, dict[str, float]] = {}

    def measured(name: str, work: Callable[[], Any]) -> Any:
        before, began = resident.forget_peak(), time.process_time()
        made = work()
        seconds = time.process_time() - began
        found[name] = {"seconds": seconds, "before": before, "added": resident.peak() - before}
        return made

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("rows.toml").write_text(_CONFIG)
        settings = read_settings("rows.toml", ())
        _write(settings, n_series, n_rows)
        _read(settings, measured)
        seen = measured("page, of all", lambda: published_overview(settings))
        measured("page, drawn", lambda: read_states_of(settings.output.states, settings.name, seen.series[:N_DRAWN]))
        measured("alerts", lambda: bring_up(settings))
        os.chdir("/")
    return found


def _read(settings: Settings, measured: Callable[[str, Callable[[], Any]], Any]) -> None:
    ingested = measured("ingest", lambda: ingest(settings))
    validated = measured("validate", lambda: validate(ingested, settings))
    measured("inputs", lambda: inputs_drifted(validated, settings))
    measured("run key", lambda: run_key(settings, validated))


def _write(settings: Settings, n_series: int, n_rows: int) -> None:
    """A source of noise, and a state table of as many rows, some series after others."""
    rng = np.random.default_rng(0)
    times = pl.datetime_range(_FIRST, _FIRST + timedelta(hours=n_rows - 1), "1h", time_unit="us", eager=True)
    writer = None
    for first in range(0, n_series, _AT_ONCE):
        names = [f"S{series:06d}" for series in range(first, min(first + _AT_ONCE, n_series))]
        rows = pl.DataFrame({"series": names}).join(pl.DataFrame({"time": times}), how="cross")
        rows = rows.with_columns(x=pl.Series(rng.normal(size=len(rows))))
        arrow = rows.to_arrow()
        writer = writer or pq.ParquetWriter("source.parquet", arrow.schema)
        writer.write_table(arrow)
        said = {"model_name": settings.name, "run_key": "key", "lineage": "l", "occasion": "night"}
        said |= {"as_of": (_FIRST + timedelta(hours=n_rows)).isoformat(), "verdict": "PUBLISHED"}
        publish_states(settings.output.states, _decoded(rows, said, rng), settings.name, f"key {first}", said)  # type: ignore[arg-type]
    if writer is not None:
        writer.close()


def _decoded(rows: pl.DataFrame, said: dict[str, str], rng: np.random.Generator) -> pl.DataFrame:
    state = np.arange(len(rows)) // 20 % 2
    likely = np.where(state == 1, 0.9, 0.1) + rng.uniform(-0.05, 0.05, len(rows))
    lists = pl.Series(np.stack([1 - likely, likely], axis=1)).arr.to_list()
    as_of = datetime.fromisoformat(said["as_of"])
    moments = {"as_of": as_of, "train_start": _FIRST, "train_end": as_of}
    texts = {"status": "OK", "state_name": "a", "run_key": "key", "model_name": said["model_name"]}
    known = rows.select(
        pl.col("series").alias("series_id"),
        "time",
        *(pl.lit(moment).alias(name) for name, moment in moments.items()),
        *(pl.lit(text).alias(name) for name, text in texts.items()),
        pl.lit(1).alias("model_version"),
        pl.lit(value=True).alias("in_sample"),
        *(pl.Series(name, state) for name in ("state", "viterbi")),
        *(lists.alias(name) for name in ("p_filtered", "p_smoothed")),
    )
    others = {name: kind for name, kind in STATE_COLUMNS.items() if name not in known.columns}
    return known.with_columns(
        pl.Series(name, rng.normal(size=len(rows))) if kind == "double" else pl.lit(None, DTYPES[kind]).alias(name)
        for name, kind in others.items()
    )


def table(found: list[dict[str, Any]]) -> list[str]:
    """A line a size."""
    lines = ["Megabytes that each part adds to the peak, and its CPU seconds"]
    for size in found:
        told = ", ".join(f"{name} {of['added']:.0f} ({of['seconds']:.1f} s)" for name, of in size["parts"].items())
        lines.append(f"{size['n_series']:>6} series of {size['n_rows']} rows: {told}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    parser.add_argument("--sizes", default="1000,4000", help="numbers of series")
    parser.add_argument("--rows", type=int, default=1000, help="rows of each series")
    parser.add_argument("--one", type=int, help="one size, in this process")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(parts(options.one, options.rows)))
        return
    found = []
    for size in map(int, options.sizes.split(",")):
        command = [sys.executable, "-m", "benchmarks.rows", "--one", str(size), "--rows", str(options.rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append({"n_series": size, "n_rows": options.rows, "parts": json.loads(done.stdout.splitlines()[-1])})
    print(*table(found), sep="\n")
    whole = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit(), "rows": found}
    path = options.results / f"{date.today().isoformat()}-rows.json"
    path.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
