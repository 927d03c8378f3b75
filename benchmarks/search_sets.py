"""Data sets by which the search for the best fit is measured; each is made when it is called for.

Series below HSMM_REFERENCE_DATA are left out where it names no folder; all others are shipped or simulated here.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import hsmm

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
        "ring 9": _ring,
        "valves, student_t semi-Markov 6": _valves,
        "journeys, semi-Markov 4": _journeys,
        "queues, negative binomial 6": _queues,
        "symbols, categorical semi-Markov 5": _symbols,
        "swarm 16": _swarm,
        "breaths, autoregressive semi-Markov 4": _breaths,
        "winds, product 5": _winds,
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


def _ring() -> Problem:
    rng = np.random.default_rng(301)
    moves = 0.45 * np.eye(9) + 0.4 * np.roll(np.eye(9), 1, 1) + 0.15 * np.roll(np.eye(9), 3, 1)
    states = _simulated(rng, moves, 1600)
    angle = 2 * np.pi * np.arange(9) / 9
    X = 1.5 * np.stack([np.cos(angle), np.sin(angle)], 1)[states] + rng.normal(0.0, 0.6, (1600, 2))
    return Problem(X, lambda **o: hsmm.HMM(9, **o))


def _valves() -> Problem:
    rng = np.random.default_rng(302)
    states = _runs(rng, 6, [6, 25, 12, 9, 18, 4], 1300)
    level = rng.normal(0.0, 1.0, (6, 3))[states]
    X = level + rng.uniform(0.3, 1.1, (6, 1))[states] * rng.standard_t(5, (1300, 3))
    return Problem(X, lambda **o: hsmm.HSMM(6, emission="student_t", max_duration=60, **o))


def _journeys() -> Problem:
    """Each visit has a level of its own besides that of its state, and drifts."""
    rng = np.random.default_rng(303)
    states = _runs(rng, 4, [30, 55, 40, 25], 1000)
    visit = np.cumsum(np.diff(states, prepend=states[0]) != 0)
    own = rng.normal(0.0, 0.5, (visit[-1] + 1, 5))[visit]
    drift = np.cumsum(0.05 * rng.normal(size=(1000, 5)), 0)
    X = rng.normal(0.0, 1.0, (4, 5))[states] + own + drift + 0.3 * rng.normal(size=(1000, 5))
    return Problem(X, lambda **o: hsmm.HSMM(4, max_duration=90, **o))


def _queues() -> Problem:
    rng = np.random.default_rng(304)
    moves = _sticky(rng, 6, 0.75)
    states = np.concatenate([_simulated(rng, moves, 150) for _ in range(8)])
    X = rng.poisson(rng.gamma(3.0, np.array([0.3, 1.0, 2.0, 3.5, 5.0, 8.0])[states] / 3.0))
    return Problem(X, lambda **o: hsmm.HMM(6, emission="negative_binomial", **o), lengths=[150] * 8)


def _symbols() -> Problem:
    rng = np.random.default_rng(305)
    states = _runs(rng, 5, [2, 5, 9, 3, 14], 1800)
    law = rng.dirichlet(np.full(9, 0.7), 5)
    seen = (rng.random(1800)[:, None] > law.cumsum(1)[states]).sum(1).clip(max=8)
    return Problem(seen, lambda **o: hsmm.HSMM(5, emission="categorical", duration="poisson", max_duration=40, **o))


def _swarm() -> Problem:
    rng = np.random.default_rng(306)
    states = _simulated(rng, _sticky(rng, 16, 0.55), 2400)
    X = rng.normal(0.0, 1.3, (16, 4))[states] + rng.uniform(0.5, 0.9, (16, 4))[states] * rng.normal(size=(2400, 4))
    law = hsmm.emissions.Gaussian(covariance="diag")
    return Problem(X, lambda **o: hsmm.HMM(16, emission=law, **o))


def _breaths() -> Problem:
    rng = np.random.default_rng(307)
    states = _runs(rng, 4, [8, 14, 22, 11], 900)
    kept, size = np.array([0.95, 0.5, -0.4, 0.8])[states], np.array([0.2, 0.8, 0.5, 1.2])[states]
    X = np.zeros(900)
    for row in range(1, 900):
        X[row] = kept[row] * X[row - 1] + size[row] * rng.normal()
    law = hsmm.emissions.AutoregressiveGaussian(lags=1)
    return Problem(X, lambda **o: hsmm.HSMM(4, emission=law, duration="negative_binomial", max_duration=60, **o))


def _winds() -> Problem:
    rng = np.random.default_rng(308)
    states = _simulated(rng, _sticky(rng, 5, 0.88), 1400)
    speed = rng.gamma(np.array([2.0, 5.0, 9.0, 4.0, 3.0])[states], np.array([0.6, 0.5, 0.7, 1.4, 0.3])[states])
    turn = rng.vonmises(np.array([-2.0, -0.5, 0.8, 2.2, 0.0])[states], np.array([3.0, 1.0, 4.0, 2.0, 0.5])[states])
    law = hsmm.emissions.Product(("gamma", "von_mises"), columns=((0,), (1,)))
    return Problem(np.stack([speed, turn], 1), lambda **o: hsmm.HMM(5, emission=law, **o))
