"""Times on a GPU, each beside what its bytes and operations take at least; first of all, whether values are right.

python -m benchmarks.gpu [--only GROUP ...] [--results FOLDER] [--commit NAME] [--repeats 20]
"""

# ruff: noqa: T201 - tables on standard output are what it is for

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import gpu_gate, gpu_peer
from benchmarks.machine import commit, machine, versions
from benchmarks.tables import random_tables
from hsmm import HSMM
from hsmm.kernels import gpu
from hsmm.kernels.gpu import launch
from hsmm.kernels.results import CausalName
from hsmm.potentials import Potentials

RESULTS = Path(__file__).with_name("results")
SINGLE, DOUBLE = torch.float32, torch.float64
MOST_SECONDS = 1.5  # of one figure's repeats
N_PATHS, LAG = 20, 5


@dataclass(frozen=True)
class Shape:
    """Series of equal length under one model; ``max_duration`` 0 is an HMM."""

    n_series: int
    n_steps: int
    n_states: int
    max_duration: int
    dtype: torch.dtype

    def tables(self) -> Potentials:
        sizes = self.n_states, self.max_duration, self.n_steps
        return random_tables(*sizes, n_series=self.n_series, dtype=self.dtype, device="cuda")

    def __str__(self) -> str:
        kind = f"D={self.max_duration}" if self.max_duration else "HMM"
        digits = {SINGLE: "f32", DOUBLE: "f64"}[self.dtype]
        return f"B={self.n_series} T={self.n_steps} K={self.n_states} {kind} {digits}"


@dataclass(frozen=True)
class Work:
    """A question: its call, and for each row what it must read and write, and count at least.

    A cell is a state with its steps left or the state before; the recursion of a sum takes two operations a cell to
    make, and one to add up, and as many on the way back.
    """

    group: str
    what: str
    shape: Shape
    call: Callable[[Potentials], Any]
    numbers: Callable[[Shape], float]
    """A row, in the type of the tables."""
    operations: float
    """A cell and row."""
    by_row: bool = False

    def tables(self) -> Potentials:
        p = self.shape.tables()
        if not self.by_row:
            return p
        duration = None if p.log_duration is None else _expanded(p.log_duration, p.n_rows)
        return replace(p, log_transition=_expanded(p.log_transition, p.n_rows), log_duration=duration)


def _expanded(table: torch.Tensor, n_rows: int) -> torch.Tensor:
    return table.unsqueeze(1).expand(-1, n_rows, -1, -1).contiguous()


def _integers(count: float, shape: Shape) -> float:
    """Numbers of 64 bits as numbers of the tables' type."""
    return count * 8 / shape.dtype.itemsize


def _of_tables(shape: Shape) -> int:
    return shape.n_states * (shape.n_states + shape.max_duration)


def _causal(*want: CausalName) -> Callable[[Potentials], Any]:
    return partial(gpu.causal, want=want)


HEADLINE = Shape(10_000, 1000, 5, 64, SINGLE)
DECODED = Shape(1_000, 1000, 5, 64, SINGLE)
CHAIN = Shape(100_000, 1000, 5, 0, SINGLE)
SUM = partial(Work, call=gpu.expected_counts, numbers=lambda s: 2 * s.n_states, operations=12)
PATH = partial(Work, call=gpu.viterbi, numbers=lambda s: s.n_states + _integers(1, s), operations=3)
BOTH = "forward+backward"

WORKS = (
    SUM("sums", BOTH, HEADLINE),
    SUM("sums", BOTH, replace(HEADLINE, dtype=DOUBLE)),
    *(SUM("sweep", BOTH, replace(HEADLINE, max_duration=d)) for d in (16, 32, 128, 256)),
    *(SUM("sweep", BOTH, replace(HEADLINE, n_states=k)) for k in (2, 3, 8, 16)),
    PATH("paths", "Viterbi", HEADLINE),
    PATH("paths", "Viterbi", replace(HEADLINE, dtype=DOUBLE)),
    SUM("hmm", BOTH, CHAIN),
    SUM("hmm", BOTH, replace(CHAIN, dtype=DOUBLE)),
    SUM("hmm", BOTH, replace(CHAIN, n_series=1_000_000, n_steps=100, n_states=2)),
    PATH("hmm", "Viterbi", CHAIN),
    Work("causal", "filtered", HEADLINE, _causal("filtered", "log_density"), lambda s: 2 * s.n_states + 1, 6),
    Work("causal", "filtered", CHAIN, _causal("filtered", "log_density"), lambda s: 2 * s.n_states + 1, 6),
    Work("causal", "elapsed, remaining", HEADLINE, _causal("elapsed", "remaining"), lambda s: 2 * s.max_duration, 10),
    Work("causal", "lag of 5", DECODED, partial(gpu.smoothed, lag=LAG), lambda s: 2 * s.n_states, 6 * (1 + LAG)),
    Work(
        "samples",
        f"{N_PATHS} paths",
        DECODED,
        lambda p: gpu.sample_paths(p, N_PATHS),
        lambda s: s.n_states + _integers(N_PATHS, s),
        6,
    ),
    SUM("by row", BOTH, DECODED, numbers=lambda s: 2 * (s.n_states + _of_tables(s)), by_row=True),
    SUM(
        "by row",
        BOTH,
        replace(DECODED, max_duration=0),
        numbers=lambda s: 2 * (s.n_states + _of_tables(s)),
        by_row=True,
    ),
    PATH("by row", "Viterbi", DECODED, numbers=lambda s: s.n_states + _of_tables(s) + _integers(1, s), by_row=True),
    SUM("wide", BOTH, Shape(500, 1000, 10, 1000, SINGLE)),
    SUM("wide", BOTH, replace(DECODED, max_duration=1000)),
    PATH("wide", "Viterbi", replace(DECODED, max_duration=1000)),
)
FITS = ((100, 300, 8), (1, 2000, 8), (1000, 300, 32))  # series, rows of each, restarts
OTHERS = ("values", "peer", "fits")
GROUPS = (*OTHERS, *dict.fromkeys(work.group for work in WORKS))


@dataclass(frozen=True)
class Ceilings:
    """What the device was seen, or is by its clock, to do in a second."""

    bytes: float
    operations: dict[torch.dtype, float]

    @classmethod
    def measured(cls) -> Ceilings:
        source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        copied = 2 * source.numel() / median_ms(lambda: target.copy_(source), 10) * 1e3
        properties = torch.cuda.get_device_properties(0)
        cycles = properties.multi_processor_count * float(query("clocks.max.sm")) * 1e6
        return cls(copied, {SINGLE: 256 * cycles, DOUBLE: 128 * cycles})


@dataclass(frozen=True)
class Figure:
    """Milliseconds of the kernels alone by events, of the whole call, and at least: each input read once, each output
    written once; the operations of :class:`Work`."""

    name: str
    what: str
    kernels_ms: float
    call_ms: float
    floor_ms: float
    bound_by: str
    bytes_a_second: float
    """Of the bytes that the floor counts."""
    kernels: list[dict[str, Any]]

    def __str__(self) -> str:
        ratio = self.kernels_ms / self.floor_ms
        line = (
            f"{self.what:18} {self.name:36} {self.kernels_ms:9.3f} ms (call {self.call_ms:8.3f})   "
            f"floor {self.floor_ms:7.3f} by {self.bound_by:10}  x{ratio:<6.1f} {self.bytes_a_second / 1e12:.2f} TB/s"
        )
        return "\n".join([line, *("    " + ", ".join(f"{k} {v}" for k, v in one.items()) for one in self.kernels)])


def main() -> int:
    options = _parser().parse_args()
    if complaint := gpu.complaint():
        print(f"there is nothing to measure: {complaint}", file=sys.stderr)
        return 2
    started = time.monotonic()
    wanted = options.only or GROUPS
    if "values" in wanted:
        if wrong := list(gpu_gate.faults()):
            print(*wrong, sep="\n", file=sys.stderr)
            return 1
        print(f"values and bits are right ({time.monotonic() - started:.0f} s)", flush=True)
    ceilings = Ceilings.measured()
    print(f"a copy moves {ceilings.bytes / 1e12:.2f} TB/s", flush=True)
    found = {
        "machine": machine() | device(),
        "versions": versions() | {"cuda": torch.version.cuda},
        "commit": options.commit or commit(),
        "copy_bytes_a_second": ceilings.bytes,
        "figures": [asdict(figure) for figure in measured(ceilings, wanted, options.repeats)],
        "peer": list(peer(options.repeats)) if "peer" in wanted else [],
        "fits": list(fits()) if "fits" in wanted else [],
        "seconds": time.monotonic() - started,
    }
    part = "-" + "-".join(group.replace(" ", "-") for group in options.only) if options.only else ""
    path = options.results / f"{datetime.now(UTC):%Y-%m-%d}-gpu{part}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{path.name} after {time.monotonic() - started:.0f} s")
    return 0


def measured(ceilings: Ceilings, groups: tuple[str, ...], repeats: int) -> Iterator[Figure]:
    for work in WORKS:
        if work.group not in groups:
            continue
        try:
            figure = _figure(work, ceilings, repeats)
        except torch.OutOfMemoryError:
            print(f"{work.what:18} {work.shape!s:36} needs more memory than this device has", flush=True)
            continue
        finally:
            torch.cuda.empty_cache()
        print(figure, flush=True)
        yield figure


def _figure(work: Work, ceilings: Ceilings, repeats: int) -> Figure:
    p, shape = work.tables(), work.shape
    launches = launches_of(lambda: work.call(p))
    kernels = sum(median_ms(partial(launch.run, *one), repeats) for one in launches)
    rows = p.n_restarts * p.n_rows
    moved = rows * work.numbers(shape) * shape.dtype.itemsize
    cells = rows * p.n_states * (p.n_durations + p.n_states)
    seconds = {
        "bytes": moved / ceilings.bytes,
        "operations": cells * work.operations / ceilings.operations[shape.dtype],
    }
    bound = max(seconds, key=seconds.__getitem__)
    name = f"{shape}{' by row' if work.by_row else ''}"
    return Figure(
        name,
        work.what,
        kernels,
        median_ms(lambda: work.call(p), repeats),
        1e3 * seconds[bound],
        bound,
        moved / kernels * 1e3,
        [occupation(*one[:3]) for one in launches],
    )


def occupation(shape: Any, entry: str, grid: Any) -> dict[str, Any]:
    """What a kernel takes of a multiprocessor."""
    kernel = launch._kernel(shape, entry, torch.device("cuda", torch.cuda.current_device()))
    blocks = kernel.occupancy.max_active_blocks_per_multiprocessor(grid.threads, grid.shared_bytes)
    return {
        "entry": entry,
        "registers": _said(kernel.attributes.num_regs),
        "local_bytes": _said(kernel.attributes.local_size_bytes),
        "warps_a_multiprocessor": blocks * grid.threads // 32,
    }


def _said(attribute: Any) -> int:
    """A number, or what gives it: which of both changed between versions of cuda-core."""
    return int(attribute() if callable(attribute) else attribute)


def launches_of(call: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """The launches that a call makes, to be repeated alone."""
    made: list[tuple[Any, ...]] = []
    run = launch.run

    def recording(*arguments: Any) -> None:
        made.append(arguments)
        run(*arguments)

    launch.run = recording  # type: ignore[assignment]
    try:
        call()
    finally:
        launch.run = run
    return made


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """By events around each of many calls, after one or more to warm up; fewer where one takes long."""
    call()
    torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    torch.cuda.synchronize()
    repeats = max(3, min(repeats, int(MOST_SECONDS / (time.perf_counter() - started))))
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in events:
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events)


def peer(repeats: int) -> Iterator[dict[str, Any]]:
    """An HMM in JAX's words on the same device."""
    shape = replace(CHAIN, n_series=10_000)
    p = shape.tables()
    ours = median_ms(lambda: gpu.expected_counts(p), repeats)
    found = gpu_peer.smoother(p, repeats)
    figure = {"name": str(shape), "ours_ms": ours} | found
    print(f"HMM smoother: {figure}", flush=True)
    yield figure


def fits() -> Iterator[dict[str, Any]]:
    """Whole fits on the GPU and on this machine's CPU, each after a short one to warm up; how often that on the GPU
    waits and launches, and in which kernels its time goes."""
    for n_series, n_steps, n_init in FITS:
        values, lengths = regimes(n_series, n_steps)
        for device in ("cuda", "cpu"):
            HSMM(3, max_duration=30, n_init=2, max_iter=5, tol=0, device=device).fit(values, lengths)
            started = time.perf_counter()
            model = HSMM(3, max_duration=30, n_init=n_init, device=device).fit(values, lengths)
            fit: dict[str, Any] = {"device": device, "seconds": time.perf_counter() - started}
            fit |= {"n_series": n_series, "n_steps": n_steps, "n_init": n_init}
            fit |= {"log_likelihood": model.log_likelihood_, "n_iter": model.n_iter_}
            best = int(model.restarts_["objective"].arg_max() or 0)
            fit["best_restart"] = int(model.restarts_["restart"][best])
            print(f"{n_series:,} series of {n_steps:,} rows, {n_init} restarts: {fit}", flush=True)
            yield fit
    for n_series, n_steps, n_init in FITS[:1]:
        values, lengths = regimes(n_series, n_steps)
        yield _profiled(HSMM(3, max_duration=30, n_init=n_init, device="cuda"), values, lengths)


def _profiled(model: HSMM, values: np.ndarray, lengths: list[int]) -> dict[str, Any]:
    """Calls of CUDA during a fit, and the kernels that took longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        model.fit(values, lengths)
    events = seen.key_averages()
    calls = {event.key: event.count for event in events if event.key.startswith(("cuda", "cuLaunch"))}
    busy = sorted((event for event in events if event.self_device_time_total), key=lambda e: -e.self_device_time_total)
    kernels = [{"name": e.key[:80], "count": e.count, "ms": e.self_device_time_total / 1e3} for e in busy]
    print("calls of CUDA:", calls, flush=True)
    print(f"the device was busy for {sum(kernel['ms'] for kernel in kernels):.0f} ms", flush=True)
    for kernel in kernels[:25]:
        print(f"{kernel['ms']:10.2f} ms {kernel['count']:7d} times {kernel['name']}", flush=True)
    return {"device": "cuda", "calls": calls, "kernels": kernels[:25]}


def regimes(n_series: int, n_steps: int) -> tuple[np.ndarray, list[int]]:
    """Three states in two dimensions that last three steps and more."""
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [2.0, -1.0], [4.0, -2.0]])
    states = np.empty((n_series, n_steps), dtype=np.int64)
    for series in states:
        state, row = int(rng.integers(3)), 0
        while row < n_steps:
            length = 3 + int(rng.poisson(8))
            series[row : row + length] = state
            state, row = (state + 1 + int(rng.integers(2))) % 3, row + length
    values = means[states] + rng.normal(size=(n_series, n_steps, 2))
    return values.reshape(-1, 2), [n_steps] * n_series


def device() -> dict[str, Any]:
    names = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem")
    return {"gpu": {name: query(name) for name in names}}


def query(name: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader,nounits", "--id=0"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    parser.add_argument("--commit", default="", help="what is measured, where no repository says it")
    parser.add_argument("--repeats", type=int, default=20, help="of each launch")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"some of: {', '.join(GROUPS)}")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
