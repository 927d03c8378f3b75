"""Whole nights of many series: what `hsmm run` costs with a model for each, by phase, and a loop over hmmlearn beside.

python -m benchmarks.night N_SERIES N_ROWS N_INIT N_ALONE    # one night, in a process of its own: figures as JSON
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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import resident
from benchmarks.peers import environments
from benchmarks.peers.table import PEERS
from benchmarks.units import MAX_DURATION, N_STATES, simulated
from tasks.config.settings import read_settings
from tasks.fitting.fit import FittedUnit, SeriesRows, fit_units, training_rows
from tasks.fitting.scaling import scaling_for
from tasks.source.ingest import ingest_task
from tasks.source.validate import validate_task
from tasks.source.wild import without_far
from tasks.tables.results import read_results

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
_SCORES = ("n_states", "bic", "icl", "log_likelihood", "n_iter")
_WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_LOOP = Path(__file__).parent / "peers" / "loop.py"


def measure(sizes: Sequence[int], n_rows: int, n_init: int, n_alone: int) -> list[dict[str, Any]]:
    """The figures of each size, measured in a process of its own, and how loaded the machine was when it began.

    Of the largest night ``n_alone`` series are fitted again, each by itself. Raises ``RuntimeError`` with what a night
    said last that did not end well.
    """
    found = []
    for size in sizes:
        load = os.getloadavg()[0]
        again = n_alone if size == max(sizes) else 0
        command = [sys.executable, "-m", "benchmarks.night", *map(str, (size, n_rows, n_init, again))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the night of {size} series ended with {done.returncode}: {done.stderr[-2000:]}")
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
        peaks = ", ".join(f"{name} {gb:.2f}" for name, gb in night.get("peaks_gb", {}).items())
        lines += [f"  peak by phase, GB: {peaks}"] if peaks else []
        if beside := night.get("alone"):
            lines.append(f"  {beside['n_series']} of them fitted alone have the same bits: {beside['each']:.3f} each")
    for less, more in pairwise(found):
        n = more["n_series"] - less["n_series"]
        each = {name: (more["phases"][name] - less["phases"].get(name, 0.0)) / n for name in more["phases"]}
        told = ", ".join(f"{name} {seconds:.3f}" for name, seconds in each.items() if abs(seconds) >= 5e-4)
        lines.append(f"  from {less['n_series']} to {more['n_series']}, each: {sum(each.values()):.3f} ({told})")
    return lines


def night(n_series: int, n_rows: int, n_init: int, n_alone: int = 0) -> dict[str, Any]:
    """A night from nothing: no tracking database, no state table. What is imported before it begins is not counted.

    CPU seconds and memory are those of this process and of the largest that it started. Raises ``RuntimeError`` where
    rows are not there, or a series alone has other bits.
    """
    import flows.nightly
    from flows.commands.flow import hush
    from tasks.config.progress import listening
    from tasks.registry.client import load_mlflow
    from tasks.report.pictures import load_matplotlib

    hush()
    load_mlflow()
    load_matplotlib()
    spent: dict[str, float] = {}
    peaks: dict[str, float] = {}
    now, since = "start", _cpu()

    def hears(stage: str, *_: object) -> None:
        nonlocal now, since
        if stage != now:
            spent[now] = spent.get(now, 0.0) + _cpu() - since
            peaks[now] = max(peaks.get(now, 0.0), resident.peak() / 1e3)
            resident.forget_peak()
            now, since = stage, _cpu()

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_source(n_series, n_rows)
        Path("night.toml").write_text(_CONFIG.format(n_states=list(N_STATES), max_duration=MAX_DURATION, n_init=n_init))
        wall, cpu = time.perf_counter(), _cpu()
        since = cpu
        resident.forget_peak()
        with listening(hears):
            said = flows.nightly.nightly("night.toml")
        hears("end")
        wall, cpu = time.perf_counter() - wall, _cpu() - cpu
        peak = max(peaks.values()) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        files = [path.stat().st_size for path in Path().rglob("*") if path.is_file()]
        runs = sqlite3.connect("mlflow.db").execute("select count(*) from runs").fetchone()[0]
        beside = refitted("night.toml", n_alone) if n_alone else None
        os.chdir("/")
    if said["verdict"] != "PUBLISHED" or said["n_published"] + n_rows * said["n_quarantined"] != n_series * n_rows:
        raise RuntimeError(f"the night ended {said['verdict']} with {said['n_published']} rows.")
    return {
        "n_series": n_series,
        "n_rows": n_rows,
        "n_init": n_init,
        "wall": wall,
        "cpu": cpu,
        "peak_gb": peak,
        "disk_gb": sum(files) / 1e9,
        "n_runs": runs,
        "n_files": len(files),
        "phases": spent,
        "peaks_gb": peaks,
        "alone": beside,
    }


def refitted(config: str, n_alone: int) -> dict[str, Any]:
    """CPU seconds of the fits of ``n_alone`` of a night's series, each alone in its rows.

    Raises ``RuntimeError`` where one has other scores, or a chosen model other numbers, than in the night's table.
    """
    settings = read_settings(config, ())
    validated = validate_task.fn(ingest_task.fn(settings, None), settings)
    table = read_results(settings.output.states, settings.name).filter(pl.col("candidate").is_not_null())
    names = table["series_id"].unique(maintain_order=True)
    sample = names.gather_every(max(1, len(names) // n_alone)).head(n_alone)
    started = _cpu()
    for name in sample:
        rows = training_rows(replace(validated, rows=validated.rows.filter(pl.col("series_id") == name)))
        groups = SeriesRows(without_far(rows, settings))
        units, failed = fit_units(groups, scaling_for(rows, settings), settings, {}, None)
        if failed or not _alike(units[name], table.filter(pl.col("series_id") == name).sort("candidate")):
            raise RuntimeError(f"series {name} fitted alone is not what it is among the others.")
    return {"n_series": len(sample), "each": (_cpu() - started) / len(sample)}


def _alike(unit: FittedUnit, rows: pl.DataFrame) -> bool:
    """Whether ``rows`` hold the candidates' scores, and the chosen model's numbers in any order of its states."""
    scores = all(unit.ranking[name].to_list() == rows[name].to_list() for name in _SCORES)
    assert unit.best.model is not None
    parts = unit.best.model._fitted_model().components()
    numbers = {f"{kind}.{name}": value for kind, part in parts.items() for name, value in part.parameters.items()}
    told = json.loads(rows["parameters"][0])
    return scores and {name: sorted(value.flatten().tolist()) for name, value in numbers.items()} == {
        name: np.sort(np.array(value), axis=None).tolist() for name, value in told.items()
    }


def _cpu() -> float:
    """CPU seconds of this process, and of those it started that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in _WHOSE)


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
    sys.stdout.write("\n" + json.dumps(night(*map(int, sys.argv[1:5]))) + "\n")
