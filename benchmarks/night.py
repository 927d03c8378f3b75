"""Whole nights of many series: what `hsmm run` costs with a model for each, by phase, and a loop over hmmlearn beside.

python -m benchmarks.night N_SERIES N_ROWS N_INIT    # one night, in a process of its own: figures as JSON
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.peers import environments
from benchmarks.peers.table import PEERS
from benchmarks.units import MAX_DURATION, N_STATES, simulated

_CONFIG = """
name = "night"
[source]
path = "source.parquet"
series = "series"
time = "time"
frequency = "1h"
[features]
x = {{ op = "identity", column = "x" }}
[model]
n_states = {n_states}
emission = ["gaussian"]
duration = ["negative_binomial"]
max_duration = {max_duration}
[fit]
pool = "per_series"
n_init = {n_init}
device = "cpu"
"""
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_LOOP = Path(__file__).parent / "peers" / "loop.py"


def measure(sizes: Sequence[int], n_rows: int, n_init: int) -> list[dict[str, Any]]:
    """The figures of each size, measured in a process of its own, and how loaded the machine was when it began."""
    found = []
    for size in sizes:
        load = os.getloadavg()[0]
        command = [sys.executable, "-m", "benchmarks.night", *map(str, (size, n_rows, n_init))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append({**json.loads(done.stdout.splitlines()[-1]), "load": load})
    return found


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """A line a size, and one for each step from a size to the next: CPU seconds of a further series, by phase."""
    lines = ["\nWhole nights with a model for each series: CPU seconds by phase"]
    for night in found:
        phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in night["phases"].items())
        clock = f"{night['wall']:.0f} s on the clock (load {night['load']:.1f}), CPU {night['cpu']:.1f}"
        left = f"peak {night['peak_gb']:.2f} GB, {night['n_runs']} runs, {night['n_files']} files"
        lines.append(f"{night['n_series']:>6} series: {clock}, {left}: {phases}")
    for less, more in pairwise(found):
        n = more["n_series"] - less["n_series"]
        each = {name: (more["phases"][name] - less["phases"].get(name, 0.0)) / n for name in more["phases"]}
        told = ", ".join(f"{name} {seconds:.3f}" for name, seconds in each.items() if abs(seconds) >= 5e-4)
        lines.append(f"  from {less['n_series']} to {more['n_series']}, each: {sum(each.values()):.3f} ({told})")
    return lines


def night(n_series: int, n_rows: int, n_init: int) -> dict[str, Any]:
    """A night from nothing: no tracking database, no state table. What is imported before it begins is not counted."""
    import flows.nightly
    from flows.commands.flow import hush
    from tasks.config.progress import listening
    from tasks.registry.client import load_mlflow
    from tasks.report.pictures import load_matplotlib

    hush()
    load_mlflow()
    load_matplotlib()
    spent: dict[str, float] = {}
    now, since = "start", time.process_time()

    def hears(stage: str, *_: object) -> None:
        nonlocal now, since
        if stage != now:
            spent[now] = spent.get(now, 0.0) + time.process_time() - since
            now, since = stage, time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_source(n_series, n_rows)
        Path("night.toml").write_text(_CONFIG.format(n_states=list(N_STATES), max_duration=MAX_DURATION, n_init=n_init))
        wall, cpu = time.perf_counter(), time.process_time()
        since = cpu
        with listening(hears):
            said = flows.nightly.nightly("night.toml")
        hears("end")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        n_files = sum(path.is_file() for path in Path().rglob("*"))
        runs = sqlite3.connect("mlflow.db").execute("select count(*) from runs").fetchone()[0]
        os.chdir("/")
    if said["verdict"] != "PUBLISHED" or said["n_published"] + n_rows * said["n_quarantined"] != n_series * n_rows:
        raise RuntimeError(f"the night ended {said['verdict']} with {said['n_published']} rows.")
    return {
        "n_series": n_series,
        "n_rows": n_rows,
        "n_init": n_init,
        "wall": wall,
        "cpu": cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "n_runs": runs,
        "n_files": n_files,
        "phases": spent,
    }


def write_source(n_series: int, n_rows: int) -> None:
    """Simulated series, hour by hour, in ``source.parquet`` where this process is."""
    times = [_FIRST + timedelta(hours=hour) for hour in range(n_rows)]
    frames = [
        pl.DataFrame({"series": f"S{seed:05d}", "time": times, "x": simulated(seed)[:n_rows]})
        for seed in range(n_series)
    ]
    pl.concat(frames).write_parquet("source.parquet")


def hmmlearn_loop(n_series: int, n_rows: int, n_init: int) -> dict[str, Any] | None:
    """CPU seconds that a loop of hmmlearn takes a series: Gaussian HMMs, no durations, as many states and restarts.

    None where hmmlearn is not installed.
    """
    peer = next(peer for peer in PEERS if peer.distribution == "hmmlearn")
    python = environments.interpreter(peer)
    if python is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.npy"
        np.save(path, np.stack([simulated(seed)[:n_rows] for seed in range(n_series)]))
        command = [python, "-P", str(_LOOP), str(path), str(n_init), *map(str, N_STATES)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"n_series": n_series, **json.loads(done.stdout)}


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(night(*map(int, sys.argv[1:4]))) + "\n")
