"""Whole fits of work g from one start: seconds of the first in a fresh process, and of the next, likelihoods reached.

python -m benchmarks.fits [--repeats 5] [--core 1]
"""

# ruff: noqa: T201 - tables on standard output are what it is for

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import environments
from benchmarks.peers.process import PeerError, Process
from benchmarks.peers.table import Peer
from benchmarks.regressions import Regression, make_regression

OURS = "this library"
PEERS = (Peer("nemos", "nemos_glm", "nemos", "g", ("nemos==0.2.8",)),)
TARGET = 3.0
LIMIT = 300.0


@dataclass
class Fits:
    """CPU seconds of first and second fits, one a process; the log-likelihood reached, after so many iterations."""

    name: str
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    log_likelihood: float = float("nan")
    n_iter: int = 0
    failed: str = ""

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.cold), statistics.median(self.warm)


def measure(task: Regression, *, repeats: int, core: int, peers: Sequence[Peer] = PEERS) -> list[Fits]:
    """This library and the peers that are installed, taking turns, each fit of a pair in a process of its own."""
    found = {OURS: (Fits(OURS), sys.executable, "ours_glm")}
    for peer in peers:
        if python := environments.interpreter(peer):
            found[peer.name] = (Fits(peer.name), python, peer.adapter)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.npz"
        task.save(path)
        for _ in range(repeats):
            for fits, python, adapter in found.values():
                if not fits.failed:
                    _fit_twice(fits, python, adapter, path, core)
    return [fits for fits, _, _ in found.values()]


def _fit_twice(fits: Fits, python: str, adapter: str, path: Path, core: int) -> None:
    try:
        with Process(python, adapter, core, LIMIT) as process:
            process.ask("open", task=str(path), n_restarts=1, distribution=None)
            first, second = process.ask("fit"), process.ask("fit")
    except PeerError as error:
        fits.failed = str(error)
        return
    fits.cold.append(first["seconds"])
    fits.warm.append(second["seconds"])
    fits.log_likelihood, fits.n_iter = second["value"], second["n_iter"]


def table(found: Sequence[Fits]) -> Iterator[str]:
    """Medians, and how many times as long each takes as this library."""
    yield f"{'':16}{'first fit':>12}{'times':>8}{'next fit':>12}{'times':>8}{'iterations':>12}{'log-likelihood':>18}"
    base = next(fits for fits in found if fits.name == OURS)
    for fits in found:
        if fits.failed or not fits.cold:
            yield f"{fits.name:16}  could not fit: {fits.failed or 'not measured'}"
            continue
        (cold, warm), (ours_cold, ours_warm) = fits.medians, base.medians
        yield (
            f"{fits.name:16}{cold:>12.3g}{cold / ours_cold:>8.3g}{warm:>12.3g}{warm / ours_warm:>8.3g}"
            f"{fits.n_iter:>12}{fits.log_likelihood:>18.4f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fits", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="processes of each library")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to measure on")
    options = parser.parse_args(arguments)
    task = make_regression()
    print(f"(g) GLM-HMM T={len(task.y)} K={len(task.initial)} F={task.X.shape[1]}: CPU seconds of a fit, medians")
    print(*table(measure(task, repeats=options.repeats, core=options.core)), sep="\n")
    print(f"wanted: at least {TARGET:g} times, first and next")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
