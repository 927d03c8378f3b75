"""A model for each of many series: what a night of so many costs, and one series after the other beside it.

python -m benchmarks.units N_SERIES N_ALONE    # one size, in a process of its own: figures as JSON
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import hsmm
from hsmm import selection
from hsmm.training import restarts, trainers

N_ROWS, N_STATES, N_INIT, MAX_DURATION = 1000, (2, 3, 4), 16, 100
_MEANS, _SPREADS, _DWELL, _SHAPE = (0.0, 2.0, -1.0), (1.0, 0.5, 2.0), (15.0, 30.0, 60.0), 3.0


def measure(sizes: Sequence[int], n_alone: int) -> list[dict[str, Any]]:
    """The figures of each size, measured in a process of its own."""
    return [
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.units", str(size), str(n_alone)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for size in sizes
    ]


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """One line a size."""
    lines = ["\nA model for each series, all candidates; seconds of CPU a series", _HEAD]
    for size in found:
        phases = ", ".join(f"{name} {seconds:.3f}" for name, seconds in size["phases"].items())
        lines.append(
            f"{size['n_series']:>7} {size['wall']:>8.1f} {size['cpu']:>8.1f} {size['each']:>7.3f} "
            f"{size['alone']:>7.3f} {size['alone'] / size['each']:>6.1f} {size['peak_gb']:>6.2f}  {phases}"
        )
    return lines


_HEAD = f"{'series':>7} {'wall s':>8} {'CPU s':>8} {'each':>7} {'alone':>7} {'ratio':>6} {'GB':>6}  phases of each"


def simulated(seed: int) -> np.ndarray:
    """A series of three states with negative-binomial durations."""
    rng = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []
    state = n_rows = 0
    while n_rows < N_ROWS:
        n = 1 + rng.negative_binomial(_SHAPE, _SHAPE / (_SHAPE + _DWELL[state]))
        pieces.append(rng.normal(_MEANS[state], _SPREADS[state], n))
        n_rows, state = n_rows + n, (state + int(rng.integers(1, 3))) % 3
    return np.concatenate(pieces)[:N_ROWS]


def candidates() -> list[hsmm.HSMM]:
    return [hsmm.HSMM(k, max_duration=MAX_DURATION, n_init=N_INIT) for k in N_STATES]


def side_by_side(n_series: int, n_alone: int) -> dict[str, Any]:
    """The figures of one size. Raises ``RuntimeError`` where a series alone has other bits."""
    series = [simulated(seed) for seed in range(n_series)]
    units, X = np.repeat(np.arange(n_series), N_ROWS), np.concatenate(series)
    selection.select_units(X[: 2 * N_ROWS], candidates(), units[: 2 * N_ROWS])
    wall, cpu = time.perf_counter(), time.process_time()
    with phases() as spent:
        found = selection.select_units(X, candidates(), units)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sample = range(0, n_series, max(1, n_series // n_alone))[:n_alone]
    started = time.process_time()
    beside = {unit: selection.select_model(series[unit], candidates()) for unit in sample}
    alone = (time.process_time() - started) / len(sample)
    for unit, one in beside.items():
        for name in ("bic", "icl", "log_likelihood"):
            if found.table.filter(unit=unit)[name].to_list() != one.table[name].to_list():
                raise RuntimeError(f"{name} of series {unit} alone is not what it is among the others.")
    each = {name: seconds / n_series for name, seconds in spent.items()}
    return {
        "n_series": n_series,
        "threads": torch.get_num_threads(),
        "wall": wall,
        "cpu": cpu,
        "each": cpu / n_series,
        "alone": alone,
        "n_alone": len(sample),
        "peak_gb": peak,
        "phases": {**each, "else": cpu / n_series - sum(each.values())},
    }


@contextmanager
def phases() -> Iterator[dict[str, float]]:
    """CPU seconds of the parts of fits, filled while this lasts."""
    spent: dict[str, float] = {}
    parts = [
        ("starts", restarts, "first_models"),
        ("EM", trainers, "expectation_maximisation"),
        ("last steps", trainers, "l_bfgs"),
    ]
    before = [getattr(module, name) for _, module, name in parts]
    try:
        for (phase, module, name), function in zip(parts, before, strict=True):
            setattr(module, name, _timed(function, phase, spent))
        yield spent
    finally:
        for (_, module, name), function in zip(parts, before, strict=True):
            setattr(module, name, function)


def _timed(function: Callable[..., Any], phase: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[phase] = spent.get(phase, 0.0) + time.process_time() - started

    return timed


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write(json.dumps(side_by_side(int(sys.argv[1]), int(sys.argv[2]))))
