"""How soon the default rule for alerts sees a change of state, and how often it sees one that is none.

``python -m benchmarks.alerts`` fits half of each data set, and looks for changes in the other half: with the default
rule on a model of unlabelled rows and on one of labelled rows, and with CUSUM and Bayesian online change-point
detection, whose thresholds are set on the very rows that are judged, so that they give no more false alarms than the
rule: that is in their favour. Beside what is measured stands what the rule was stated to do, by simulation from the
same model. ``--json FILE`` writes every figure, with machine and versions.

Labelled series below HSMM_REFERENCE_DATA are left out where it names no folder.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.special import gammaln, logsumexp

import hsmm
from benchmarks.machine import commit, machine, versions
from tasks.alerts.performance import judged, together
from tasks.alerts.rule import ANY, Found, Rule, hysteresis_of
from tasks.alerts.statement import of_model
from tasks.config.sections.alerts import Alerts
from tasks.fitting.bundle import Member

REFERENCE = os.environ.get("HSMM_REFERENCE_DATA") or None
RULE = Rule((), ((ANY, ANY),), hysteresis_of(Alerts()))
_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
_THRESHOLDS = 30
_LONGEST_RUN = 500
_RECENT = 5
_SETTLES = 10


@dataclass(frozen=True)
class Labelled:
    """Rows (n, n_features) of several series, their states (n,) and lengths."""

    X: np.ndarray
    states: np.ndarray
    lengths: list[int]

    def first(self) -> np.ndarray:
        marks = np.zeros(len(self.states), dtype=bool)
        marks[np.cumsum([0, *self.lengths[:-1]])] = True
        return marks

    def series(self) -> Iterator[np.ndarray]:
        yield from np.split(self.X, np.cumsum(self.lengths)[:-1])


@dataclass(frozen=True)
class Halves:
    """What is fitted, and what is judged; both in units of the first."""

    seen: Labelled
    unseen: Labelled


def halves(X: np.ndarray, states: np.ndarray, lengths: list[int] | None = None) -> Halves:
    """Of one series its earlier and its later half; of several, the earlier and the later of them."""
    if lengths is None:
        middle = len(X) // 2
        parts = [
            Labelled(X[:middle], states[:middle], [middle]),
            Labelled(X[middle:], states[middle:], [len(X) - middle]),
        ]
    else:
        n = len(lengths) // 2
        at = sum(lengths[:n])
        parts = [Labelled(X[:at], states[:at], lengths[:n]), Labelled(X[at:], states[at:], lengths[n:])]
    mean, scale = parts[0].X.mean(axis=0), parts[0].X.std(axis=0)
    seen, unseen = (
        Labelled((part.X - mean) / np.where(scale > 0, scale, 1.0), part.states, part.lengths) for part in parts
    )
    return Halves(seen, unseen)


def simulated() -> Halves:
    """Twenty series of a model of three states, a spread and a half apart, whose stays last some 40 rows."""
    rng = np.random.default_rng(0)
    states = list[int]()
    for _ in range(20):
        path, state = list[int](), int(rng.integers(3))
        while len(path) < 1000:
            path += [state] * int(1 + rng.negative_binomial(4, 4 / 44))
            state = int((state + 1 + rng.integers(2)) % 3)
        states += path[:1000]
    truth = np.array(states)
    return halves(1.5 * truth[:, None] + rng.normal(size=(len(truth), 1)), truth, [1000] * 20)


def occupancy() -> Halves:
    """Whether a room is occupied, from its climate without its light, minute by minute."""
    rows = _read("iot_occupancy_train_1min.csv")
    return halves(
        rows.select("Temperature", "Humidity", "CO2", "HumidityRatio").to_numpy(), rows["Occupancy"].to_numpy()
    )


def walking() -> Halves:
    """Six activities in ten channels of sensors that are worn; every tenth row."""
    rows = _read("seg_actrectut_subject1_walk.parquet")
    rows = rows.gather_every(10)
    labels = rows["state"].rank("dense").to_numpy().astype(np.int64) - 1
    return halves(rows.select(f"c{i}" for i in range(10)).to_numpy().astype(np.float64), labels)


def valves() -> Halves:
    """A water circuit with valves that are closed and opened again: eight sensors, seventeen trials, each in units of
    its first 250 rows.
    """
    sensors = [f"c{i}" for i in range(8)]
    begin = pl.col(sensors).cast(pl.Float64).head(250)
    scaled = (pl.col(sensors).cast(pl.Float64) - begin.mean()) / (begin.std() + 1e-3)
    rows = _read("seg_skab.parquet").sort("series", "t").with_columns(scaled.over("series"))
    lengths = rows.group_by("series", maintain_order=True).len()["len"].to_list()
    labels = rows["state"].rank("dense").to_numpy().astype(np.int64) - 1
    return halves(rows.select(sensors).to_numpy(), labels, lengths)


SETS: dict[str, Callable[[], Halves]] = {
    "simulated": simulated,
    "occupancy": occupancy,
    "walking": walking,
    "valves": valves,
}


def _read(name: str) -> pl.DataFrame:
    path = Path(REFERENCE or "") / name
    return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)


def alarms_of(found: Found) -> np.ndarray:
    """(n,) whether the rule says that the state has changed."""
    return (found.entered >= 0) & (found.before >= 0) & (found.entered != found.before)


def scored(alarms: np.ndarray, data: Labelled) -> dict[str, Any]:
    """The first alarm of a stay is its detection, all others are false; the first stay of a series has none to find."""
    first = data.first()
    begins = first | (data.states != np.append(data.states[:1], data.states[:-1]))
    starts, stay = np.flatnonzero(begins), begins.cumsum() - 1
    count = np.bincount(stay[alarms], minlength=len(starts))
    at = np.full(len(starts), len(alarms))
    np.minimum.at(at, stay[alarms], np.flatnonzero(alarms))
    due = ~first[starts]
    seen = due & (count > 0)
    delays = (at - starts)[seen]
    n_false = int(np.maximum(count - due, 0).sum())
    return {
        "n_changes": int(due.sum()),
        "n_seen": int(seen.sum()),
        "delay_mean": float(delays.mean()) if len(delays) else None,
        "delay_p50": float(np.median(delays)) if len(delays) else None,
        "false_per_1000": 1000 * n_false / len(alarms),
    }


def cusum(series: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """Two-sided CUSUM of every feature (Page 1954), in units of mean and spread since the last alarm; k is one half."""
    alarms = []
    for x in series:
        told = np.zeros(len(x), dtype=bool)
        n, mean, squares, high, low = 0, 0.0 * x[0], 0.0 * x[0], 0.0 * x[0], 0.0 * x[0]
        for row, value in enumerate(x):
            if n >= _SETTLES:
                z = (value - mean) / np.sqrt(np.maximum(squares / (n - 1), 1e-6))
                high, low = np.maximum(0.0, high + z - 0.5), np.maximum(0.0, low - z - 0.5)
                if max(high.max(), low.max()) > threshold:
                    told[row] = True
                    n, mean, squares, high, low = 0, 0.0 * x[0], 0.0 * x[0], 0.0 * x[0], 0.0 * x[0]
                    continue
            n += 1
            step = value - mean
            mean = mean + step / n
            squares = squares + step * (value - mean)
        alarms.append(told)
    return np.concatenate(alarms)


def recent_change(series: Sequence[np.ndarray], stay: float) -> list[np.ndarray]:
    """P(the last change was at most five rows ago | the rows so far): Adams and MacKay 2007, with a hazard of one in
    ``stay``, Gaussian features that are independent, and their conjugate priors; 500 run lengths are kept.
    """
    return [_run_lengths(x, 1 / stay) for x in series]


def _run_lengths(x: np.ndarray, hazard: float) -> np.ndarray:
    n_features = x.shape[1]
    log_p = np.array([0.0])
    mean, kappa, alpha, beta = np.zeros((1, n_features)), np.array([1.0]), np.array([1.0]), np.ones((1, n_features))
    recent = np.zeros(len(x))
    for row, value in enumerate(x):
        predictive = _student(value, mean, kappa, alpha, beta)
        grown = log_p + predictive + np.log1p(-hazard)
        fresh = logsumexp(log_p + predictive) + np.log(hazard)
        log_p = np.append(fresh, grown)[:_LONGEST_RUN]
        log_p -= logsumexp(log_p)
        wider = (kappa / (kappa + 1))[:, None]
        beta = np.vstack([np.ones((1, n_features)), beta + 0.5 * wider * (value - mean) ** 2])[:_LONGEST_RUN]
        mean = np.vstack([np.zeros((1, n_features)), wider * mean + (1 - wider) * value])[:_LONGEST_RUN]
        kappa, alpha = np.append(1.0, kappa + 1)[:_LONGEST_RUN], np.append(1.0, alpha + 0.5)[:_LONGEST_RUN]
        recent[row] = np.exp(logsumexp(log_p[: _RECENT + 1])) if row > _SETTLES else 0.0
    return recent


def _student(value: np.ndarray, mean: np.ndarray, kappa: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(n_runs,) log density of a row under each run's predictive law."""
    freedom = 2 * alpha[:, None]
    scale = beta * ((kappa + 1) / (alpha * kappa))[:, None]
    squared = (value - mean) ** 2 / scale
    constant = gammaln((freedom + 1) / 2) - gammaln(freedom / 2) - 0.5 * np.log(np.pi * freedom * scale)
    return (constant - (freedom + 1) / 2 * np.log1p(squared / freedom)).sum(axis=1)


def crossings(recent: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """Alarms where a probability rises to the threshold, armed again below half of it."""
    alarms = []
    for p in recent:
        told, armed = np.zeros(len(p), dtype=bool), True
        for row, value in enumerate(p):
            if armed and value >= threshold:
                told[row], armed = True, False
            elif value < threshold / 2:
                armed = True
        alarms.append(told)
    return np.concatenate(alarms)


def no_worse(
    detect: Callable[[float], np.ndarray], thresholds: np.ndarray, data: Labelled, most: float
) -> dict[str, Any]:
    """Of a detector, the threshold that sees most changes with no more false alarms than so many in 1,000 rows."""
    found = [{"threshold": float(h), **scored(detect(float(h)), data)} for h in thresholds]
    allowed = [one for one in found if one["false_per_1000"] <= most] or [found[-1]]
    return max(allowed, key=lambda one: (one["n_seen"], -(one["delay_mean"] or np.inf)))


def fitted(data: Labelled, n_states: Sequence[int], states: np.ndarray | None = None) -> hsmm.HSMM:
    """The candidate of least BIC."""
    candidates = [
        hsmm.HSMM(n, duration=duration, max_duration=100, n_init=4, max_iter=200, tol=1e-5, random_state=0)
        for n in n_states
        for duration in ("geometric", "negative_binomial")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best: hsmm.HSMM = hsmm.select_model(data.X, candidates, data.lengths, states=states).best
    return best


def judge(name: str) -> dict[str, Any]:
    """Every figure of one data set."""
    began, data = time.process_time(), SETS[name]()
    labels = int(data.seen.states.max()) + 1
    models = {
        "unlabelled": fitted(data.seen, sorted({2, 3, 4, labels})),
        "labelled": fitted(data.seen, [labels], data.seen.states),
    }
    changes = int((np.diff(data.seen.states) != 0).sum())
    stay = len(data.seen.states) / (changes + len(data.seen.lengths))
    recent = recent_change([*data.unseen.series()], stay)
    said: dict[str, Any] = {
        "set": name,
        "n_rows": len(data.unseen.states),
        "n_series": len(data.unseen.lengths),
        "n_states": labels,
        "rules": {},
    }
    for how, model in models.items():
        member = Member(model, tuple(range(model.n_states)), model.n_states, 1, _MOMENT, _MOMENT)
        found = RULE.found(model.filter_proba(data.unseen.X, data.unseen.lengths), data.unseen.first())
        own = scored(alarms_of(found), data.unseen)
        grid = np.geomspace(2.0, 1e5, _THRESHOLDS)
        probable = 1 - np.geomspace(0.9, 1e-9, _THRESHOLDS)
        allowed = own["false_per_1000"]
        said["rules"][how] = {
            "model": f"{model.n_states} states, {model.emission_.name}, {model.duration_.name}",
            "stated": together([of_model(member, RULE, 20_000, 0)]),
            "rule": own,
            "cusum": no_worse(lambda h: cusum([*data.unseen.series()], h), grid, data.unseen, allowed),
            "bocpd": no_worse(lambda p: crossings(recent, p), probable, data.unseen, allowed),
        }
        if how == "labelled":
            measured = judged(RULE, found, data.unseen.states, data.unseen.first())
            said["rules"][how]["measured"] = together([measured])
    return {**said, "cpu_seconds": round(time.process_time() - began, 1)}


def lines(said: dict[str, Any]) -> Iterator[str]:
    """What was measured, a line a detector."""
    yield f"{said['set']}: {said['n_rows']} rows of {said['n_series']} series, {said['n_states']} states"
    for how, figures in said["rules"].items():
        yield f"  {how}: {figures['model']}"
        for key in ("stated", "measured"):
            if key in figures:
                one = figures[key]
                yield f"    {key:9}{_of_stays(one)}"
        for key in ("rule", "cusum", "bocpd"):
            one = figures[key]
            delay = "no" if one["delay_mean"] is None else f"{one['delay_mean']:.1f}"
            yield (
                f"    {key:9}{one['n_seen']} of {one['n_changes']} changes seen, after {delay} rows, "
                f"{one['false_per_1000']:.2f} false alarms in 1,000 rows"
            )


def _of_stays(one: dict[str, Any]) -> str:
    delay = "no" if one["delay_mean"] is None else f"{one['delay_mean']:.1f}"
    missed = 0.0 if one["missed"] is None else one["missed"]
    false = 0.0 if one["false_per_1000"] is None else one["false_per_1000"]
    return f"right state noted after {delay} rows, {missed:.0%} missed, {false:.2f} false alarms in 1,000 rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--sets", nargs="+", choices=[*SETS], default=[*SETS])
    asked = parser.parse_args()
    results = []
    for name in asked.sets:
        if name != "simulated" and REFERENCE is None:
            print(f"{name}: left out, HSMM_REFERENCE_DATA names no folder")
            continue
        results.append(judge(name))
        print("\n".join(lines(results[-1])), flush=True)
    if asked.json:
        made = {"machine": machine(), "versions": versions(), "commit": commit(), "alerts": results}
        Path(asked.json).write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
