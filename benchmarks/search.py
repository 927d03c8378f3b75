"""How often default options reach the best of 200 starts, and what that costs.

``python -m benchmarks.search`` prints a line for each of thirty-four data sets: the best of 200 starts, each climbed
to its end; the best known, which may be a published value, where a climb from the law of a simulation ends, or what a
fit has reached; how many of ten seeds reach what 200 starts do, how far the worst of them ends below the best known,
CPU seconds of a fit. The 200 starts are sought once and kept in ``results/search-best.json``; what a later run finds
above them is written there as well.

The sets fall into halves: what is chosen about the search is chosen on ``development`` alone, and ``held out`` says
what it is worth. The ``unseen`` sets were made once the search was settled, and measured once; by two of them, "crowd
14" and "waves, semi-Markov 5", it has been changed since. By the ``fresh`` sets nothing is chosen. ``--half``
measures one of these, or the ``other`` sets, whose best is often known from elsewhere. Beside seconds, which depend
on the machine, stands the work of E-steps: models times rows times states times (states + longest duration), in
millions, and how many calls it came in. ``--json FILE`` adds every figure to a file, ``--against FILE`` compares with
one that another version wrote.

Series below HSMM_REFERENCE_DATA are left out where it names no folder; all others are shipped or simulated here.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl

import hsmm
from benchmarks.machine import commit, machine, versions
from hsmm import inference
from hsmm.selection import stability

NEAR = 0.05
"""Nats below the best at which a fit counts as having reached it."""
STARTS = 200
BEST = Path(__file__).parent / "results" / "search-best.json"
HALVES = {
    "development": [
        "earthquakes, stationary 4",
        "lamb, stationary 3",
        "weekly counts, stationary 4",
        "rare counts of many series, 3",
        "sleep, categorical 3",
        "reaction times, gaussian 4",
        "overlapping semi-Markov 4",
        "overlapping chain 5",
        "plane 20",
        "restless plane 20",
    ],
    "held out": [
        "share index, student_t 3",
        "machines, gaussian 4",
        "choices of mice, 3",
        "geyser, gaussian 3",
        "monthly returns, gaussian 4",
        "interest, gaussian 3",
        "motion, semi-Markov 5",
        "semi-Markov counts 5",
        "plane 30",
        "restless plane 12",
    ],
    "unseen": [
        "bursts, negative binomial 3",
        "leaning clouds 6",
        "heavy tails 4",
        "waiting amounts, semi-Markov 4",
        "letters, categorical 4",
        "headings, von Mises 3",
        "crowd 14",
        "waves, semi-Markov 5",
        "gauges with gaps 4",
        "pairs of counts, many series, 4",
    ],
    "fresh": [
        "alarms, zero-inflated Poisson 4",
        "drifting loads, autoregressive 4",
        "mixed columns, product 5",
        "shifts, semi-Markov 8",
    ],
}
EXAMPLES = Path(__file__).parents[1] / "examples" / "data"
REFERENCE = os.environ.get("HSMM_REFERENCE_DATA") or None


@dataclass(frozen=True)
class Problem:
    """Rows, the estimator to be fitted to them with default options, and a value to be reached if one is published."""

    X: np.ndarray
    make: Callable[..., Any]
    lengths: list[int] | None = None
    context: np.ndarray | None = None
    published: float | None = None
    truth: Any = None
    """A model of the law that the rows were drawn from, to start a climb at."""
    options: dict[str, Any] = field(default_factory=dict)

    def fit(self, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.make(**{**self.options, **options}).fit(self.X, self.lengths, context=self.context)

    def from_truth(self) -> float:
        """The objective that a climb from the law of the simulation ends at."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = self.make(n_init=1, **self.options).fit(
                self.X, self.lengths, context=self.context, start=self.truth
            )
        return float(model.log_likelihood_)


def problems() -> dict[str, Callable[[], Problem]]:
    """Each data set by its name, made when it is called for."""
    made: dict[str, Callable[[], Problem]] = {
        "share index, gaussian 3": lambda: _returns(3, "gaussian", -6900.738),
        "share index, gaussian 4": lambda: _returns(4, "gaussian", -6852.485),
        "share index, student_t 3": lambda: _returns(3, "student_t"),
        "machines, gaussian 4": _machines,
        "three levels": _levels,
        "three activities": _activities,
        "earthquakes, stationary 4": lambda: _counts("earthquakes.csv", 4, "stationary", -327.8316),
        "earthquakes, free 4": lambda: _counts("earthquakes.csv", 4, "free", -326.2850),
        "lamb, stationary 3": lambda: _counts("fetal_lamb.csv", 3, "stationary", -166.4879),
        "weekly counts, stationary 4": _weekly,
        "rare counts of many series, 3": _rare_counts,
        "overlapping semi-Markov 4": lambda: _semi_markov(0),
        "overlapping chain 5": lambda: _chain(5, 1, 2000, 1.6, 1),
        "semi-Markov counts 5": _semi_markov_counts,
        "plane 10": lambda: _chain(10, 2, 3000, 2.5, 2),
        "plane 20": lambda: _chain(20, 2, 5000, 3.0, 3),
        "plane 30": lambda: _chain(30, 2, 6000, 3.5, 4),
        "restless plane 12": lambda: _chain(12, 2, 3000, 2.5, 11, stay=0.4),
        "restless plane 20": lambda: _chain(20, 2, 5000, 3.0, 12, stay=0.3),
        "choices of two kinds, 3": _choices,
        "bursts, negative binomial 3": _bursts,
        "leaning clouds 6": _clouds,
        "heavy tails 4": _tails,
        "waiting amounts, semi-Markov 4": _amounts,
        "letters, categorical 4": _letters,
        "headings, von Mises 3": _headings,
        "crowd 14": lambda: _chain(14, 3, 2500, 1.6, 112, stay=0.7),
        "waves, semi-Markov 5": _waves,
        "gauges with gaps 4": _gauges,
        "pairs of counts, many series, 4": _pairs,
        "alarms, zero-inflated Poisson 4": _alarms,
        "drifting loads, autoregressive 4": _drifting,
        "mixed columns, product 5": _mixed,
        "shifts, semi-Markov 8": _shifts,
    }
    if REFERENCE is not None:
        made |= {
            "choices of mice, 3": _mice,
            "geyser, gaussian 3": lambda: _column("cls_old_faithful_geyser.csv", "waiting", 3, -1050.3262),
            "reaction times, gaussian 4": lambda: _column("cls_speed_accuracy_depmix.csv", "rt", 4, -36.6542),
            "monthly returns, gaussian 3": lambda: _column("fin_sp500_monthly_1950_2012.csv", "logret", 3, 1347.0749),
            "monthly returns, gaussian 4": lambda: _column("fin_sp500_monthly_1950_2012.csv", "logret", 4),
            "interest, gaussian 3": lambda: _column("econ_fedfunds_quarterly.csv", "fedfunds", 3),
            "sleep, categorical 3": _sleep,
            "motion, semi-Markov 5": _motion,
            "steps, gamma 2": lambda: Problem(
                _table("hmm_trex_labelled.csv")["step"].to_numpy(),
                lambda **o: hsmm.HMM(2, emission="gamma", initial="stationary", **o),
                published=-10847.1231,
            ),
        }
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help="parts of the names of data sets; by default all but the others")
    parser.add_argument("--half", choices=[*HALVES, "other"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path)
    chosen = parser.parse_args()
    earlier = json.loads(chosen.against.read_text())["sets"] if chosen.against else {}
    figures = json.loads(chosen.json.read_text()) if chosen.json and chosen.json.exists() else {"sets": {}}
    figures |= {"machine": machine(), "versions": versions(), "commit": commit()}
    made = problems()
    for name in [name for name in made if _is_wanted(name, chosen.half, chosen.sets)]:
        found = measured(name, made[name](), chosen.seeds)
        figures["sets"][name] = found
        print(line(name, found, earlier.get(name)), flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


def half_of(name: str) -> str:
    return next((half for half, names in HALVES.items() if name in names), "other")


def _is_wanted(name: str, half: str | None, parts: list[str]) -> bool:
    if parts and not any(part in name for part in parts):
        return False
    return half_of(name) == half if half else bool(parts) or half_of(name) in HALVES


def measured(name: str, problem: Problem, n_seeds: int) -> dict[str, Any]:
    """What fits of so many seeds reached and cost, beside the best known."""
    known = _known(name, problem)
    reached, seconds, work, calls = [], [], [], []
    for seed in range(n_seeds):
        start = time.process_time()
        with _counted() as sizes:
            reached.append(float(problem.fit(random_state=seed).log_likelihood_))
        seconds.append(time.process_time() - start)
        work.append(sum(sizes) / 1e6)
        calls.append(len(sizes))
    best = max([*known.values(), *reached])
    if best > max(known.values()) + 1e-6:
        _keep(name, {**known, "any fit": best})
    cost = {"seconds": seconds, "work": work, "calls": calls}
    return {"half": half_of(name), "best": best, "known": known, "reached": reached, **cost}


@contextmanager
def _counted() -> Iterator[list[int]]:
    """The work of each E-step made meanwhile."""
    sizes: list[int] = []
    plain = inference.expected_counts

    def counted(p: Any, *others: Any, **named: Any) -> Any:
        longest = 0 if p.log_duration is None else p.log_duration.shape[-1]
        sizes.append(p.log_emission.numel() * (p.n_states + longest))
        return plain(p, *others, **named)

    with patch.object(inference, "expected_counts", counted):
        yield sizes


def _known(name: str, problem: Problem) -> dict[str, float]:
    """The best of many starts, kept from an earlier run or sought now, and other heights that can be reached."""
    kept = json.loads(BEST.read_text()) if BEST.exists() else {}
    if name in kept:
        return kept[name]
    heights = {f"best of {STARTS} starts": climbed(problem, STARTS)}
    if problem.published is not None:
        heights["published"] = problem.published
    if problem.truth is not None:
        heights["from the law"] = problem.from_truth()
    _keep(name, heights)
    return heights


def _keep(name: str, heights: dict[str, float]) -> None:
    kept = json.loads(BEST.read_text()) if BEST.exists() else {}
    BEST.write_text(json.dumps(dict(sorted({**kept, name: heights}.items())), indent=1) + "\n")


def climbed(problem: Problem, n_starts: int, at_once: int = 25) -> float:
    """The best of so many starts, drawn by several seeds, when none is stopped early."""
    best = -np.inf
    for seed in range(n_starts // at_once):
        model = problem.fit(n_init=1, max_iter=1, random_state=1_000 + seed)
        found = stability(model, problem.X, problem.lengths, context=problem.context, n_restarts=at_once, max_iter=2000)
        best = max(best, float(np.nanmax(found.table["objective"].to_numpy())))
    return best


def line(name: str, found: dict[str, Any], earlier: dict[str, Any] | None) -> str:
    many = found["known"].get(f"best of {STARTS} starts", found["best"])
    best = max(found["best"], earlier["best"]) if earlier else found["best"]
    said = f"{name:30} {STARTS} starts {many:11.3f}, best known {best:11.3f}: {_reaching(found, many, best)}"
    return f"{said}; before {_reaching(earlier, many, best)}" if earlier else said


def _reaching(found: dict[str, Any], many: float, best: float) -> str:
    """How many seeds reached what many starts do, how far the worst ended below the best known, the median seconds."""
    reached = found["reached"]
    there = sum(value >= many - NEAR for value in reached)
    said = f"{there:2} of {len(reached)}, worst -{best - min(reached):.3f}, {np.median(found['seconds']):.2f} s"
    return f"{said}, {np.mean(found['work']):.1f} million in {np.mean(found['calls']):.0f}" if "work" in found else said


def _table(file: str) -> pl.DataFrame:
    return pl.read_csv(Path(REFERENCE or "") / file)


def _column(file: str, column: str, n_states: int, published: float | None = None) -> Problem:
    values = _table(file)[column].to_numpy()
    return Problem(values, lambda **o: hsmm.HMM(n_states, **o), published=published)


def _returns(n_states: int, emission: str, published: float | None = None) -> Problem:
    prices = pl.read_parquet(EXAMPLES / "markets.parquet").filter(pl.col("symbol") == "SP500").sort("date")
    returns = 100.0 * np.diff(np.log(prices["close"].to_numpy()))
    return Problem(returns, lambda **o: hsmm.HMM(n_states, emission=emission, **o), published=published)


def _machines() -> Problem:
    table = pl.read_parquet(EXAMPLES / "machines.parquet")
    series = table.columns[0]
    numeric = [name for name in table.columns if table[name].dtype.is_float()]
    table = table.sort(table.columns[:2])
    lengths = table.group_by(series, maintain_order=True).len()["len"].to_list()
    return Problem(table.select(numeric).to_numpy(), lambda **o: hsmm.HMM(4, **o), lengths=lengths)


def _counts(file: str, n_states: int, initial: str, published: float) -> Problem:
    values = pl.read_csv(EXAMPLES / file)["count"].to_numpy()
    return Problem(
        values, lambda **o: hsmm.HMM(n_states, emission="poisson", initial=initial, **o), published=published
    )


def _simulated(rng: np.random.Generator, transition: np.ndarray, n_rows: int) -> np.ndarray:
    states = np.empty(n_rows, dtype=int)
    states[0] = rng.integers(len(transition))
    for row in range(1, n_rows):
        states[row] = rng.choice(len(transition), p=transition[states[row - 1]])
    return states


def _sticky(rng: np.random.Generator, n_states: int, stay: float) -> np.ndarray:
    moves = rng.dirichlet(np.ones(n_states), n_states)
    np.fill_diagonal(moves, 0.0)
    return stay * np.eye(n_states) + (1 - stay) * moves / moves.sum(1, keepdims=True)


def _levels() -> Problem:
    rng = np.random.default_rng(1)
    moves = np.array([[0.80, 0.15, 0.05], [0.10, 0.80, 0.10], [0.05, 0.15, 0.80]])
    states = np.concatenate([_simulated(rng, moves, 120) for _ in range(30)])
    return Problem(rng.normal(5.0 * states, 0.7), lambda **o: hsmm.HMM(3, **o), lengths=[120] * 30)


def _activities() -> Problem:
    rng = np.random.default_rng(1)
    states = np.concatenate([_simulated(rng, np.array([[0.7, 0.3], [0.4, 0.6]]), 100) for _ in range(60)])
    law = np.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])
    seen = np.array([rng.choice(3, p=law[state]) for state in states])
    return Problem(seen, lambda **o: hsmm.HMM(2, emission="categorical", **o), lengths=[100] * 60)


def _weekly() -> Problem:
    rng = np.random.default_rng(5)
    states = _simulated(rng, _sticky(rng, 4, 0.8), 242)
    X = rng.poisson(np.array([2.0, 4.0, 7.0, 14.0])[states])
    return Problem(X, lambda **o: hsmm.HMM(4, emission="poisson", initial="stationary", **o))


def _rare_counts() -> Problem:
    rng = np.random.default_rng(6)
    states = np.concatenate([_simulated(rng, _sticky(rng, 3, 0.75), 30) for _ in range(20)])
    X = rng.poisson(np.array([0.2, 1.2, 4.0])[states])
    return Problem(X, lambda **o: hsmm.HMM(3, emission="poisson", **o), lengths=[30] * 20)


def _semi_markov(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    moves, state = _sticky(rng, 4, 0.0), 0
    states: list[int] = []
    while len(states) < 1500:
        states += [state] * (1 + rng.negative_binomial(3, 3 / (3 + [5, 10, 20, 8][state])))
        state = rng.choice(4, p=moves[state])
    z = np.array(states[:1500])
    X = rng.normal(np.array([0.0, 1.2, 2.2, 1.0])[z], np.array([0.6, 0.8, 0.6, 1.6])[z])
    return Problem(X, lambda **o: hsmm.HSMM(4, duration="negative_binomial", max_duration=60, **o))


def _semi_markov_counts() -> Problem:
    rng = np.random.default_rng(21)
    moves, state = _sticky(rng, 5, 0.0), 0
    states: list[int] = []
    while len(states) < 1200:
        states += [state] * (1 + rng.poisson([3, 12, 6, 20, 4][state]))
        state = rng.choice(5, p=moves[state])
    X = rng.poisson(np.array([0.5, 2.0, 3.5, 6.0, 10.0])[states[:1200]])
    return Problem(X, lambda **o: hsmm.HSMM(5, emission="poisson", duration="poisson", max_duration=50, **o))


def _sleep() -> Problem:
    seen = _table("health_infant_eeg_sleep_states.csv")["state"]
    codes = seen.cast(pl.Categorical).rank("dense").to_numpy().astype(int) - 1
    return Problem(codes, lambda **o: hsmm.HMM(3, emission="categorical", **o))


def _motion() -> Problem:
    joints = _table("seg_mocap_86_02.csv").drop("state").to_numpy()[::10]
    return Problem(joints, lambda **o: hsmm.HSMM(5, max_duration=60, **o))


def _chain(n_states: int, n_features: int, n_rows: int, spread: float, seed: int, stay: float = 0.9) -> Problem:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0.0, spread, (n_states, n_features))
    size = rng.uniform(0.4, 1.0, (n_states, n_features))
    moves = _sticky(rng, n_states, stay)
    states = _simulated(rng, moves, n_rows)
    truth = hsmm.HMM.from_parameters(
        initial_prob=np.full(n_states, 1.0 / n_states),
        transition_prob=moves,
        emission=hsmm.emissions.Gaussian.from_parameters(mean, np.stack([np.diag(s**2) for s in size])),
    )
    return Problem(rng.normal(mean[states], size[states]), lambda **o: hsmm.HMM(n_states, **o), truth=truth)


def _bursts() -> Problem:
    rng = np.random.default_rng(101)
    states = _simulated(rng, _sticky(rng, 3, 0.85), 500)
    X = rng.poisson(rng.gamma(2.0, np.array([0.5, 2.0, 4.0])[states]))
    return Problem(X, lambda **o: hsmm.HMM(3, emission="negative_binomial", **o))


def _clouds() -> Problem:
    rng = np.random.default_rng(102)
    states = _simulated(rng, _sticky(rng, 6, 0.8), 1500)
    lean = 0.7 * rng.normal(size=(6, 3, 3))
    X = rng.normal(0.0, 1.4, (6, 3))[states] + np.einsum("nij,nj->ni", lean[states], rng.normal(size=(1500, 3)))
    return Problem(X, lambda **o: hsmm.HMM(6, **o))


def _tails() -> Problem:
    rng = np.random.default_rng(103)
    states = _simulated(rng, _sticky(rng, 4, 0.9), 900)
    X = np.array([-2.0, 0.0, 0.5, 3.0])[states] + np.array([0.5, 0.3, 2.0, 0.8])[states] * rng.standard_t(4, 900)
    return Problem(X, lambda **o: hsmm.HMM(4, emission="student_t", **o))


def _runs(rng: np.random.Generator, n_states: int, mean: list[float], n_rows: int) -> np.ndarray:
    moves, state = _sticky(rng, n_states, 0.0), 0
    states: list[int] = []
    while len(states) < n_rows:
        states += [state] * (1 + rng.poisson(mean[state]))
        state = rng.choice(n_states, p=moves[state])
    return np.array(states[:n_rows])


def _amounts() -> Problem:
    rng = np.random.default_rng(104)
    states = _runs(rng, 4, [4, 9, 15, 7], 1000)
    X = rng.gamma(np.array([2.0, 4.0, 3.0, 8.0])[states], np.array([0.5, 0.8, 2.0, 0.6])[states])
    return Problem(X, lambda **o: hsmm.HSMM(4, emission="gamma", duration="poisson", max_duration=40, **o))


def _letters() -> Problem:
    rng = np.random.default_rng(105)
    states = _simulated(rng, _sticky(rng, 4, 0.75), 1500)
    law = rng.dirichlet(np.full(7, 0.6), 4)
    seen = np.array([rng.choice(7, p=law[state]) for state in states])
    return Problem(seen, lambda **o: hsmm.HMM(4, emission="categorical", **o))


def _headings() -> Problem:
    rng = np.random.default_rng(106)
    states = _simulated(rng, _sticky(rng, 3, 0.85), 700)
    X = rng.vonmises(np.array([-1.5, 0.3, 1.6])[states], np.array([1.5, 6.0, 2.5])[states])
    return Problem(X, lambda **o: hsmm.HMM(3, emission="von_mises", **o))


def _waves() -> Problem:
    rng = np.random.default_rng(108)
    states = _runs(rng, 5, [20, 35, 15, 40, 25], 900)
    phase = np.cumsum(np.array([0.05, 0.3, 0.12, 0.5, 0.02])[states])
    size = np.array([1.0, 0.5, 2.0, 1.5, 0.2])[states]
    X = np.stack([size * np.sin(phase), size * np.cos(0.7 * phase)], 1) + 0.05 * rng.normal(size=(900, 2))
    return Problem(X, lambda **o: hsmm.HSMM(5, max_duration=80, **o))


def _gauges() -> Problem:
    rng = np.random.default_rng(109)
    states = _simulated(rng, _sticky(rng, 4, 0.9), 1000)
    X = rng.normal(rng.normal(0.0, 1.2, (4, 2))[states], rng.uniform(0.4, 1.2, (4, 2))[states])
    X[rng.random(X.shape) < 0.15] = np.nan
    return Problem(X, lambda **o: hsmm.HMM(4, **o))


def _pairs() -> Problem:
    rng = np.random.default_rng(110)
    moves = _sticky(rng, 4, 0.7)
    states = np.concatenate([_simulated(rng, moves, 40) for _ in range(25)])
    X = rng.poisson(np.array([[0.5, 3.0], [2.0, 2.0], [3.0, 0.5], [6.0, 5.0]])[states])
    return Problem(X, lambda **o: hsmm.HMM(4, emission="poisson", **o), lengths=[40] * 25)


def _alarms() -> Problem:
    rng = np.random.default_rng(201)
    moves = _sticky(rng, 4, 0.85)
    states = np.concatenate([_simulated(rng, moves, 60) for _ in range(20)])
    quiet = rng.random(len(states)) < np.array([0.7, 0.5, 0.2, 0.4])[states]
    X = np.where(quiet, 0, rng.poisson(np.array([1.0, 3.0, 5.0, 11.0])[states]))
    return Problem(X, lambda **o: hsmm.HMM(4, emission="zero_inflated_poisson", **o), lengths=[60] * 20)


def _drifting() -> Problem:
    rng = np.random.default_rng(202)
    states = _simulated(rng, _sticky(rng, 4, 0.93), 1200)
    kept, added = np.array([0.9, 0.3, -0.5, 0.7]), np.array([0.1, 1.0, 0.5, -0.6])
    X = np.zeros(1200)
    for row, state in enumerate(states):
        X[row] = kept[state] * X[row - 1] + added[state] + [0.3, 0.6, 0.4, 0.9][state] * rng.normal()
    law = hsmm.emissions.AutoregressiveGaussian(lags=1)
    return Problem(X, lambda **o: hsmm.HMM(4, emission=law, **o))


def _mixed() -> Problem:
    rng = np.random.default_rng(203)
    states = _simulated(rng, _sticky(rng, 5, 0.8), 1500)
    level = rng.normal(np.array([0.0, 1.0, 1.0, 2.5, 0.5])[states], np.array([0.6, 0.6, 1.2, 0.8, 1.5])[states])
    letter = (rng.random(1500)[:, None] > rng.dirichlet(np.full(4, 0.8), 5).cumsum(1)[states]).sum(1)
    law = hsmm.emissions.Product(("gaussian", "categorical"), columns=((0,), (1,)))
    return Problem(np.stack([level, letter], 1), lambda **o: hsmm.HMM(5, emission=law, **o))


def _shifts() -> Problem:
    rng = np.random.default_rng(204)
    states = _runs(rng, 8, [3, 6, 10, 15, 5, 8, 20, 12], 1500)
    X = rng.normal(0.0, 0.8, (8, 6))[states] + rng.uniform(0.5, 1.2, (8, 6))[states] * rng.normal(size=(1500, 6))
    law = hsmm.emissions.Gaussian(covariance="diag")
    return Problem(X, lambda **o: hsmm.HSMM(8, emission=law, duration="log_normal", max_duration=50, **o))


def _choices() -> Problem:
    rng = np.random.default_rng(7)
    n_rows, coef = 49_000, np.array([[3.0, 0.3, 0.0], [0.5, 2.0, 0.0], [1.0, -1.5, 0.0]])
    bias = np.array([0.0, 1.0, -1.0])
    context = rng.normal(size=(n_rows, 3))
    states = _simulated(rng, _sticky(rng, 3, 0.97), n_rows)
    drift = (context * coef[states]).sum(1) + bias[states]
    X = (rng.random(n_rows) < 1 / (1 + np.exp(-drift))).astype(float)
    glm = hsmm.emissions.GLM(family="bernoulli")
    return Problem(X, lambda **o: hsmm.HMM(3, emission=glm, **o), lengths=[490] * 100, context=context)


def _mice() -> Problem:
    data = pl.read_parquet(Path(REFERENCE or "") / "glmhmm_bolkan2022_direct_miceA.parquet")
    regressors = [name for name in data.columns if name not in ("mouse", "session", "bias", "choice_right")]
    lengths = data.group_by("mouse", "session", maintain_order=True).len()["len"].to_list()
    glm = hsmm.emissions.GLM(family="bernoulli")
    return Problem(
        data["choice_right"].to_numpy().astype(float),
        lambda **o: hsmm.HMM(3, emission=glm, **o),
        lengths=lengths,
        context=data.select(regressors).to_numpy().astype(float),
        published=-15809.726,
    )


if __name__ == "__main__":
    main()
