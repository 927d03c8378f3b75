"""Measure, print, and keep every figure; nothing is printed unless all is correct first.

python -m benchmarks.run --suite cpu [--peers] [--install]
python -m benchmarks.run --suite units [--sizes 100,300,1000]
python -m benchmarks.run --suite night [--sizes 1000,3000] [--rows 1000] [--restarts 16] [--alone 50]
"""

# ruff: noqa: T201 - tables on standard output are what it is for

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import accuracy, fits, gate, machine, memory, night, picture, report, scaling, units
from benchmarks.peers import environments
from benchmarks.peers.table import PEERS
from benchmarks.regressions import make_regression
from benchmarks.side_by_side import Figures, entrants, find_peers, measure
from benchmarks.targets import verdicts
from benchmarks.works import WORKS

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "benchmark-scaling.png"
NIGHTS = ROOT / "docs" / "pictures" / "benchmark-night.png"
RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.install:
        return install()
    started = time.perf_counter()
    _say("the gate: enumeration, exact values, native against reference")
    if wrong := gate.faults():
        print("Not measured, because what would be measured is wrong:", *wrong, sep="\n", file=sys.stderr)
        return 1
    found = SUITES[options.suite](options)
    found["seconds"] = time.perf_counter() - started
    path = options.results / f"{date.today().isoformat()}-{options.suite}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    curves = f"; the curves: {_relative(options.picture)}" if options.suite == "cpu" else ""
    print(f"\nEvery figure: {_relative(path)}{curves}")
    return 0


def units_suite(options: argparse.Namespace) -> dict[str, Any]:
    sizes = [int(size) for size in options.sizes.split(",")]
    _say(f"{', '.join(map(str, sizes))} series side by side")
    found = units.measure(sizes, options.alone)
    _print(units.table(found))
    whole = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit()}
    return {**whole, "gate": "passed", "units": found}


def night_suite(options: argparse.Namespace) -> dict[str, Any]:
    sizes = [int(size) for size in options.sizes.split(",")]
    _say(f"whole nights of {', '.join(map(str, sizes))} series")
    nights = night.measure(sizes, options.rows, options.restarts, options.alone)
    _print(night.table(nights))
    beside = night.hmmlearn_loop(options.alone, options.rows, options.restarts)
    _print([f"a loop over hmmlearn, HMMs only: {beside['each']:.3f} each" if beside else "hmmlearn is not installed"])
    picture.draw_nights(nights, beside, options.nights_picture)
    whole = {"machine": machine.machine(), "versions": machine.versions(), "commit": machine.commit()}
    return {**whole, "gate": "passed", "nights": nights, "hmmlearn": beside}


def cpu_suite(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "gate": "passed",
    }
    clock = found["machine"]["gigahertz"]
    here, missing = find_peers(PEERS) if options.peers else ([], {})
    figures: list[Figures] = []
    for name in options.works.replace("g", ""):
        _say(f"work {name}: {WORKS[name]}")
        several = list(entrants(WORKS[name], here))
        figures += measure(WORKS[name], several, core=options.core, repeats=options.repeats, budget=options.budget)
    whole: list[fits.Fits] = []
    if options.peers and "g" in options.works:
        _say("work g: whole fits of a GLM-HMM")
        whole = fits.measure(make_regression(), repeats=options.repeats, core=options.core)
    judged = list(verdicts(figures, missing)) if options.peers else []
    _say("the recursions alone")
    found["threads"] = scaling.threads(found["machine"]["cores"])
    with pinned(options.core):
        found |= {"per_cell": scaling.per_cell(clock), "curves": scaling.curves()}
    found |= {
        "accuracy": accuracy.accuracy(),
        "memory": memory.memory(),
        "side_by_side": [asdict(f) for f in figures],
        "fits": [asdict(f) for f in whole],
        "targets": [{**asdict(v), "met": v.met} for v in judged],
        "missing": missing,
    }
    picture.draw(found["curves"], found["per_cell"], found["threads"], options.picture)
    _print(report.side_by_side(figures, missing))
    if whole:
        _print(["\n(g) GLM-HMM: CPU seconds of a whole fit, medians", *fits.table(whole)])
    if judged:
        _print(report.targets(judged))
    _print([*report.cells(found["per_cell"], clock), *report.bound(found["per_cell"])])
    _print(report.threads(found["threads"]))
    _print(report.accuracy(found["accuracy"]))
    _print(report.memory(found["memory"]))
    return found


SUITES = {"cpu": cpu_suite, "units": units_suite, "night": night_suite}


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """This thread, and those it starts, on one core; then this thread where it was before."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def install() -> int:
    """Make the environment of every peer that has none, and name those that could not be made."""
    faults = {}
    for peer in {peer.distribution: peer for peer in PEERS}.values():
        _say(peer.name)
        if fault := environments.install(peer):
            faults[peer.name] = fault
    for name, fault in faults.items():
        print(f"not installed: {name} ({fault})", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--suite", choices=[*SUITES], default="cpu")
    parser.add_argument("--sizes", default="100,300,1000", help="numbers of series")
    parser.add_argument("--rows", type=int, default=1000, help="rows of each series of a whole night, at most 1,000")
    parser.add_argument("--restarts", type=int, default=16, help="restarts of every candidate of a whole night")
    parser.add_argument("--alone", type=int, default=10, help="series fitted one by one besides")
    parser.add_argument("--peers", action="store_true", help="measure the peers that are installed, side by side")
    parser.add_argument(
        "--install", action="store_true", help=f"install the peers below {environments.FOLDER} and stop"
    )
    parser.add_argument("--works", default="".join(WORKS) + "g", help="which works, by letter")
    parser.add_argument("--repeats", type=int, default=5, help="samples of every figure, at most")
    parser.add_argument("--budget", type=float, default=6.0, help="seconds for each figure, about")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to measure on")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where the curves are drawn")
    parser.add_argument("--nights-picture", type=Path, default=NIGHTS, help="where whole nights are drawn")
    return parser


def _print(lines: Iterable[str]) -> None:
    print(*lines, sep="\n", flush=True)


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    raise SystemExit(main())
