"""Times on a GPU, each beside what its bytes and operations take at least; first of all, whether values are right.

python -m benchmarks.gpu [--results FOLDER] [--commit NAME] [--repeats 20] [--without-fits]
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
from torch import Tensor

from benchmarks.machine import commit, machine, versions
from benchmarks.tables import random_tables
from hsmm import HSMM, inference
from hsmm.kernels import gpu, reference
from hsmm.kernels.gpu import launch
from hsmm.kernels.gpu.counts import part_of
from hsmm.kernels.gpu.inputs import plan_of
from hsmm.potentials import Potentials

RESULTS = Path(__file__).with_name("results")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
BATCHES = (1, 7, 64, 1024)
SINGLE, DOUBLE = torch.float32, torch.float64


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


HEADLINE = Shape(10_000, 1000, 5, 64, SINGLE)
CHAIN = Shape(100_000, 1000, 5, 0, SINGLE)
SUMS = (
    HEADLINE,
    replace(HEADLINE, dtype=DOUBLE),
    *(replace(HEADLINE, max_duration=d) for d in (16, 32, 128, 256)),
    *(replace(HEADLINE, n_states=k) for k in (2, 3, 8, 16)),
    CHAIN,
)
PATHS = (HEADLINE, replace(HEADLINE, dtype=DOUBLE), CHAIN)


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
    written once; six operations a cell and pass of a sum, three of a maximum."""

    name: str
    what: str
    kernels_ms: float
    call_ms: float
    floor_ms: float
    bound_by: str

    def __str__(self) -> str:
        ratio = self.kernels_ms / self.floor_ms
        return (
            f"{self.what:16} {self.name:36} {self.kernels_ms:9.3f} ms (call {self.call_ms:8.3f})   "
            f"floor {self.floor_ms:7.3f} by {self.bound_by:10}  x{ratio:.1f}"
        )


def main() -> int:
    options = _parser().parse_args()
    if complaint := gpu.complaint():
        print(f"there is nothing to measure: {complaint}", file=sys.stderr)
        return 2
    started = time.monotonic()
    if wrong := list(faults()):
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    print(f"values and bits are right ({time.monotonic() - started:.0f} s)", flush=True)
    ceilings = Ceilings.measured()
    print(f"a copy moves {ceilings.bytes / 1e12:.2f} TB/s", flush=True)
    figures = []
    for figure in measured(ceilings, options.repeats):
        print(figure, flush=True)
        figures.append(figure)
    fitted = [] if options.without_fits else list(fits())
    found = {
        "machine": machine() | device(),
        "versions": versions() | {"cuda": torch.version.cuda},
        "commit": options.commit or commit(),
        "copy_bytes_a_second": ceilings.bytes,
        "figures": [asdict(figure) for figure in figures],
        "fits": fitted,
        "seconds": time.monotonic() - started,
    }
    path = options.results / f"{datetime.now(UTC):%Y-%m-%d}-gpu.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{path.name} after {time.monotonic() - started:.0f} s")
    return 0


def faults() -> Iterator[str]:
    """Where the kernels and the reference, in float64 on the CPU, differ; and whose bits depend on the batch."""
    for k, d, tail in ((3, 0, False), (3, 4, True), (5, 64, False), (16, 20, True), (2, 200, False)):
        exact = some_tables(k, d, tail=tail)
        counts, path = reference.expected_counts(exact), reference.viterbi(exact)
        for dtype, tolerance in TOLERANCE.items():
            p = on_gpu(exact, dtype)
            found = inference.expected_counts(p, kernel="gpu")
            decoded = inference.viterbi(p, kernel="gpu")
            pairs = {name: (getattr(found, name), value) for name, value in vars(counts).items()}
            pairs["path"] = decoded.log_probability, path.log_probability
            for name, (value, wanted) in pairs.items():
                if not torch.allclose(value.cpu().double(), wanted, rtol=tolerance, atol=tolerance):
                    worst = float((value.cpu().double() - wanted).abs().max())
                    yield f"K={k} D={d} {dtype}: {name} is off by {worst:.1e}, allowed {tolerance:g}"
    yield from unstable_bits()


def some_tables(n_states: int, max_duration: int, *, tail: bool) -> Potentials:
    """Ragged series, some cut off, with missing rows."""
    p = random_tables(n_states, max_duration, 700, n_restarts=2)
    lengths = [1, 2, 300, 33, 64, 100, 7, 193]
    emission = 2 * p.log_emission
    emission[:, ::17] = 0.0
    p = replace(p, log_emission=emission, offsets=torch.tensor([0, *np.cumsum(lengths)]))
    if not max_duration:
        return p
    cut = torch.arange(len(lengths)) % 2 == 0
    stay = torch.full((2, n_states), -0.5, dtype=DOUBLE) if tail else None
    return replace(p, log_tail=stay, left_censored=cut, right_censored=torch.arange(len(lengths)) % 3 > 0)


def unstable_bits() -> Iterator[str]:
    """Series number 0 alone and among others."""
    for dtype in TOLERANCE:
        largest = Shape(BATCHES[-1], 300, 5, 64, dtype).tables()
        wanted = None
        for n in BATCHES:
            p, _ = part_of(largest, 0, torch.arange(n, device="cuda"))
            found = inference.expected_counts(p, kernel="gpu")
            decoded = inference.viterbi(p, kernel="gpu")
            bits = (found.log_likelihood[0, 0], found.state[0, :300], decoded.states[0, :300])
            wanted = wanted or bits
            if not all(torch.equal(x, y) for x, y in zip(bits, wanted, strict=True)):
                yield f"{dtype}: a series has other bits in a batch of {n}"


def measured(ceilings: Ceilings, repeats: int) -> Iterator[Figure]:
    for shape in SUMS:
        if figure := _figure(shape, "forward+backward", ceilings, repeats):
            yield figure
    for shape in PATHS:
        if figure := _figure(shape, "Viterbi", ceilings, repeats):
            yield figure


def _figure(shape: Shape, what: str, ceilings: Ceilings, repeats: int) -> Figure | None:
    p = shape.tables()
    paths = what == "Viterbi"
    if plan_of(p, paths=paths) is None:
        print(f"{what:16} {shape!s:36} has no kernel", flush=True)
        return None
    call = (lambda: gpu.viterbi(p)) if paths else (lambda: gpu.expected_counts(p))
    launches = launches_of(call)
    kernels = sum(median_ms(partial(launch.run, *one), repeats) for one in launches)
    size, rows = p.log_emission.element_size(), p.n_restarts * p.n_rows
    moved = rows * (p.n_states * size + 8) if paths else rows * p.n_states * 2 * size
    cells = rows * p.n_states * (p.n_durations + p.n_states)
    seconds = {
        "bytes": moved / ceilings.bytes,
        "operations": cells * (3 if paths else 12) / ceilings.operations[shape.dtype],
    }
    bound = max(seconds, key=seconds.__getitem__)
    return Figure(str(shape), what, kernels, median_ms(call, repeats), 1e3 * seconds[bound], bound)


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
    """By events around each of many calls, after three to warm up."""
    for _ in range(3):
        call()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in events:
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in events)


def fits() -> Iterator[dict[str, Any]]:
    """A whole fit from 32 starts on the GPU and on this machine's CPU, each after a small one to warm up."""
    values, lengths = regimes(n_series=1000, n_steps=300)
    for device in ("cuda", "cpu"):
        HSMM(3, max_duration=30, n_init=2, max_iter=5, tol=0, device=device).fit(values[:3000], lengths[:10])
        started = time.perf_counter()
        model = HSMM(3, max_duration=30, n_init=32, device=device).fit(values, lengths)
        fit = {"device": device, "seconds": time.perf_counter() - started}
        fit |= {"log_likelihood": model.log_likelihood_, "n_iter": model.n_iter_}
        best = int(model.restarts_["objective"].arg_max() or 0)
        fit["best_restart"] = int(model.restarts_["restart"][best])
        print(f"1,000 series of 300 rows, 32 restarts: {fit}", flush=True)
        yield fit


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


def on_gpu(p: Potentials, dtype: torch.dtype | None = None) -> Potentials:
    def there(x: Tensor | bool) -> Tensor | bool:
        return x.cuda() if isinstance(x, Tensor) else x

    tables = {name: table.to("cuda", dtype or table.dtype) for name, table in p.tables().items()}
    flags = {f"{side}_censored": there(getattr(p, f"{side}_censored")) for side in ("left", "right")}
    return replace(p, **tables, **flags, offsets=p.offsets.cuda())  # type: ignore[arg-type]


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
    parser.add_argument("--without-fits", action="store_true")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
