"""The tables of a run as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.side_by_side import OURS, QUESTIONS, Figures
from benchmarks.targets import Verdict
from benchmarks.works import WORKS

AT_MOST = 2.0
WORDS = {"iterate": "EM iteration", "e_step": "E-step", "decode": "Viterbi"}


def side_by_side(figures: Sequence[Figures], missing: dict[str, str]) -> Iterator[str]:
    """Medians a restart, and how many times as long each takes as this library with one start."""
    header = f"{'':30}" + "".join(f"{WORDS[question]:>15}{'times':>8}" for question in QUESTIONS) + f"{'peak MB':>10}"
    for name in dict.fromkeys(f.work for f in figures):
        here = [f for f in figures if f.work == name]
        base = next(f for f in here if f.name == OURS)
        yield f"\n({name}) {WORKS[name]}: seconds a restart, medians\n{header}"
        for f in here:
            cells = "".join(_cell(f, base, question) for question in QUESTIONS)
            peak = "" if f.peak_megabytes is None else f"{f.peak_megabytes:.0f}"
            yield f"{f.label:30}{cells}{peak:>10}"
            yield from (f"    could not {question}: {fault}" for question, fault in f.failed.items())
        yield from _likelihoods(here)
    if any(f.stretch > 1 for f in figures):
        yield "\n* measured on fewer rows, and multiplied"
    yield from (f"not measured: {name} ({reason})" for name, reason in missing.items())


def _cell(f: Figures, base: Figures, question: str) -> str:
    seconds, ours = f.median(question), base.median(question)
    if seconds is None:
        return f"{'-':>15}{'':>8}"
    star = "*" if f.stretch > 1 else ""
    ratio = "" if ours is None else f"{seconds / ours:.3g}"
    return f"{seconds:>14.3g}{star or ' '}{ratio:>8}"


def _likelihoods(here: list[Figures]) -> Iterator[str]:
    """Who finds what likelihood at the true parameters, on all rows."""
    whole = [f for f in here if f.log_likelihood is not None and f.stretch == 1]
    values: dict[str, list[str]] = {}
    for f in whole:
        ending = "" if WORKS[f.work].is_hmm or f.ending == "open" else " (segment ends with the series)"
        values.setdefault(f"{f.log_likelihood:.4f}{ending}", []).append(f.name)
    for value, names in values.items():
        yield f"    log-likelihood at the true parameters {value}: {', '.join(dict.fromkeys(names))}"


def targets(verdicts: Sequence[Verdict]) -> Iterator[str]:
    yield "\nTargets: how many times as long the peer takes, a restart\n"
    yield f"{'work':6}{'what':16}{'restarts':>9}  {'peer':18}{'target':>8}{'reached':>9}"
    for v in verdicts:
        reached = f"{'-':>9}  {v.reason}" if v.ratio is None else f"{v.ratio:>9.3g}  {_met(v.ratio >= v.target)}"
        yield f"{v.work:6}{WORDS[v.question]:16}{v.n_restarts:>9}  {v.peer:18}{v.target:>8.4g}{reached}"


def cells(found: list[dict[str, Any]], clock: float | None) -> Iterator[str]:
    """Nanoseconds a cell against the bound of stores."""
    speed = "unknown: no compiler here" if clock is None else f"{clock:.2f} GHz, measured"
    yield f"\nNanoseconds a cell of T·(K·D + K²), one thread; clock {speed}"
    yield "bound: both passes, if the processor did nothing but one 32-byte store a cycle"
    yield f"{'':26}{'type':>9}{'forward':>10}{'both passes':>13}{'Viterbi':>10}{'bound':>8}{'both/bound':>12}"
    for row in found:
        durations = f"K={row['n_states']}" + (f" D={row['max_duration']}" if row["max_duration"] else " HMM")
        ns = row["nanoseconds"]
        bound = f"{row['bound']:>8.3f}{ns['both passes'] / row['bound']:>12.2f}" if row["bound"] else ""
        shape = f"{durations}, {row['n_series']} series"
        yield f"{shape:26}{row['type']:>9}{ns['forward']:>10.3f}{ns['both passes']:>13.3f}{ns['Viterbi']:>10.3f}{bound}"


def bound(found: list[dict[str, Any]]) -> Iterator[str]:
    """Whether both passes of full lanes stay within ``AT_MOST`` times the bound, at K=5 D=100 float64."""
    for row in found:
        if row["bound"] and (row["max_duration"], row["type"], row["n_series"] > 1) == (100, "float64", True):
            ratio = row["nanoseconds"]["both passes"] / row["bound"]
            yield f"target: at most {AT_MOST:g} times the bound, lanes full: {ratio:.2f}  {_met(ratio <= AT_MOST)}"


def accuracy(found: list[dict[str, Any]]) -> Iterator[str]:
    yield "\nfloat32 against float64 on the same tables: relative, but states absolute"
    yield f"{'work':6}{'T':>9}{'log-likelihood':>16}{'states':>10}{'transitions':>13}{'durations':>11}"
    for row in found:
        duration = f"{row['duration']:>11.1e}" if "duration" in row else f"{'-':>11}"
        numbers = f"{row['log_likelihood']:>16.1e}{row['state']:>10.1e}{row['transition']:>13.1e}"
        yield f"{row['work']:6}{row['n_steps']:>9}{numbers}{duration}"


def memory(found: list[dict[str, Any]]) -> Iterator[str]:
    yield "\nPeak memory of one E-step beyond its tables, K=5 D=100 float64"
    for row in found:
        met = _met(row["megabytes"] <= row["bound"])
        yield f"T={row['n_steps']:<10} {row['megabytes']:8.1f} MB, target at most {row['bound']:8.1f} MB  {met}"


def threads(found: list[dict[str, float]]) -> Iterator[str]:
    alone = found[0]["seconds"]
    yield "\nThreads: wall time of 64 series of T=2,000, K=5 D=100"
    for row in found:
        yield f"{row['threads']:>3}  {row['seconds'] * 1e3:8.2f} ms  {alone / row['seconds']:5.2f} times as fast"


def _met(met: bool) -> str:
    return "met" if met else "NOT MET"
