"""What the library sets out to reach against its peers, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.side_by_side import OURS, QUESTIONS, Figures

ITERATION, E_STEP, _ = QUESTIONS


@dataclass(frozen=True)
class Target:
    """On these works, the peer takes at least ``factor`` times as long, by restart."""

    works: str
    peer: str
    factor: float
    n_restarts: int = 1
    question: str = ITERATION


TARGETS = (
    Target("abc", "hmmlearn", 3),
    Target("abc", "hmmlearn", 8, n_restarts=32),
    Target("de", "gaussian-hsmm", 1000),
    Target("de", "pyhsmm", 20, n_restarts=8, question=E_STEP),
)
FASTEST = Target("f", "the fastest peer", 500, n_restarts=20)
"""Peers that fit one model at a time take 20 times what they take on d, the same data."""


@dataclass(frozen=True)
class Verdict:
    """``ratio`` is the peer's median over ours, None where one of the two was not measured: ``reason``."""

    work: str
    question: str
    n_restarts: int
    peer: str
    target: float
    ratio: float | None
    reason: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= self.target


def verdicts(figures: Sequence[Figures], missing: dict[str, str]) -> Iterator[Verdict]:
    """One line a target and work."""
    for target in TARGETS:
        for work in target.works:
            yield _verdict(figures, missing, target, work, _median(figures, work, target.peer, 1, target.question))
    name, median = fastest(figures)
    yield _verdict(figures, missing, FASTEST, "f", median, name)


def fastest(figures: Sequence[Figures]) -> tuple[str, float | None]:
    """The peer with the shortest iteration of a model of f: on f itself, or alone on d."""
    medians = [
        (median, f.name)
        for f in figures
        if f.work in "df" and f.name != OURS and (median := f.median(ITERATION)) is not None
    ]
    return (min(medians)[1], min(medians)[0]) if medians else (FASTEST.peer, None)


def _verdict(
    figures: Sequence[Figures],
    missing: dict[str, str],
    target: Target,
    work: str,
    theirs: float | None,
    peer: str | None = None,
) -> Verdict:
    ours = _median(figures, work, OURS, target.n_restarts, target.question)
    ratio = None if ours is None or theirs is None else theirs / ours
    name = peer or target.peer
    reason = "" if ratio is not None else missing.get(name, "not measured")
    return Verdict(work, target.question, target.n_restarts, name, target.factor, ratio, reason)


def _median(figures: Sequence[Figures], work: str, name: str, n_restarts: int, question: str) -> float | None:
    for f in figures:
        if (f.work, f.name, f.n_restarts) == (work, name, n_restarts):
            return f.median(question)
    return None
