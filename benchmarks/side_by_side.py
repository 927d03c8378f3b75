"""Every library on every work in one run: each in its own process, on one core, taking turns."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers import environments
from benchmarks.peers.process import PeerError, Process
from benchmarks.peers.table import Peer
from benchmarks.timing import Timing, interleave
from benchmarks.works import Work, make_task

OURS = "this library"
ROUND = 5  # iterations before a fit of many restarts drops any
QUESTIONS = ("iterate", "e_step", "decode")
TOGETHER = {"a": 32, "b": 32, "c": 32, "d": 8, "e": 8}
"""Restarts fitted at once, besides one alone."""


@dataclass(frozen=True)
class Entrant:
    """A library, and how many restarts it fits at once."""

    name: str
    adapter: str
    python: str
    distribution: str | None = None
    n_restarts: int = 1
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.name if self.n_restarts == 1 else f"{self.name}, {self.n_restarts} restarts"


@dataclass
class Figures:
    """What was measured of one entrant on one work.

    Seconds by question ("iterate", "e_step", "decode"): of the whole work and all restarts, the samples of one
    repetition each, with ``median`` and ``least``; ``stretch`` is what they were multiplied by because the peer was
    given fewer rows. ``log_likelihood`` at the true parameters, of the rows it was given.
    """

    work: str
    name: str
    label: str
    n_restarts: int
    n_rows: int
    stretch: float = 1.0
    version: str | None = None
    seconds: dict[str, dict[str, Any]] = field(default_factory=dict)
    log_likelihood: float | None = None
    ending: str | None = None
    peak_megabytes: float | None = None
    failed: dict[str, str] = field(default_factory=dict)

    def median(self, question: str) -> float | None:
        """Seconds a restart."""
        found = self.seconds.get(question)
        return None if found is None else found["median"] / self.n_restarts


def entrants(work: Work, peers: list[tuple[Peer, str]]) -> Iterator[Entrant]:
    """This library, alone and with restarts together, then the peers that do this work."""
    for n_restarts in sorted({work.n_restarts, TOGETHER.get(work.name, work.n_restarts)}):
        yield Entrant(OURS, "ours", sys.executable, n_restarts=n_restarts)
    for peer, python in peers:
        if work.name in peer.works:
            n_restarts = work.n_restarts if peer.batched else 1
            yield Entrant(peer.name, peer.adapter, python, peer.distribution, n_restarts, peer.rows)


def measure(work: Work, several: list[Entrant], *, core: int, repeats: int, budget: float) -> list[Figures]:
    """All entrants on one work, taking turns; ``budget`` are the seconds each has for one question."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = [_open(stack, entrant, work, folder, core, 20 * budget) for entrant in several]
        runners = [runner for runner in found if runner.can]
        for question in QUESTIONS:
            able = [r for r in runners if question in r.can and (question != "decode" or r.figures.n_restarts == 1)]
            _ask_all(question, able, repeats, budget)
        for runner in runners:
            _finish(runner)
    return [runner.figures for runner in found]


@dataclass
class _Runner:
    """A library at work, what it ``can`` answer (nothing, if it failed to start), and what it has shown."""

    figures: Figures
    process: Process
    can: list[str] = field(default_factory=list)

    def seconds(self, question: str, n: int) -> float:
        return float(self.process.ask(question, n=n)["seconds"])


def _open(stack: ExitStack, entrant: Entrant, work: Work, folder: Path, core: int, limit: float) -> _Runner:
    task = work.shortened(entrant.rows.get(work.name, work.n_steps))
    path = folder / f"{task.n_rows}.npz"
    if not path.exists():
        make_task(task).save(path)
    figures = Figures(
        work.name, entrant.name, entrant.label, entrant.n_restarts, task.n_rows, work.n_rows / task.n_rows
    )
    runner = _Runner(figures, stack.enter_context(Process(entrant.python, entrant.adapter, core, limit)))
    try:
        details = {"n_restarts": entrant.n_restarts, "distribution": entrant.distribution}
        opened = runner.process.ask("open", task=str(path), **details)
        runner.can, figures.version = opened["can"], opened["version"]
    except PeerError as error:
        figures.failed["open"] = str(error)
    return runner


def _ask_all(question: str, runners: list[_Runner], repeats: int, budget: float) -> None:
    timings: dict[str, Timing] = {}
    for runner in runners:
        dropped_later = question == "iterate" and runner.figures.n_restarts > 1
        try:
            measured = partial(runner.seconds, question)
            if dropped_later:
                measured(1)  # the first fit draws the starts
            timing = Timing(measured, 1, ROUND) if dropped_later else Timing.calibrated(measured, most=1000)
            timings[runner.figures.label] = timing
        except PeerError as error:
            runner.figures.failed[question] = str(error)
    faults = interleave(timings, repeats=repeats, budget=budget, may_fail=PeerError)
    for runner in runners:
        label = runner.figures.label
        if label in faults:
            runner.figures.failed[question] = faults[label]
        elif label in timings:
            runner.figures.seconds[question] = _summary(timings[label], runner.figures.stretch)


def _summary(timing: Timing, stretch: float) -> dict[str, Any]:
    return {
        "median": stretch * timing.median,
        "least": stretch * timing.least,
        "each": [stretch * seconds for seconds in timing.each],
        "repetitions": [timing.few, timing.many],
    }


def _finish(runner: _Runner) -> None:
    figures = runner.figures
    try:
        if "log_likelihood" in runner.can:
            answer = runner.process.ask("log_likelihood")
            figures.log_likelihood, figures.ending = answer["value"], answer["ending"]
        figures.peak_megabytes = runner.process.ask("peak")["megabytes"]
    except PeerError as error:
        figures.failed["log_likelihood"] = str(error)


def find_peers(peers: tuple[Peer, ...]) -> tuple[list[tuple[Peer, str]], dict[str, str]]:
    """Peers with their interpreters, and why the others are not here."""
    here, missing = [], {}
    for peer in peers:
        python = environments.interpreter(peer)
        if python is None:
            missing[peer.name] = peer.by_hand or "not installed; see --install"
        else:
            here.append((peer, python))
    return here, missing
