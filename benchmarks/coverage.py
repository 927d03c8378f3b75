"""How often intervals of 90 % hold the truth, over fits to simulated rows.

``python -m benchmarks.coverage --json FILE`` prints a line for each law, parameter and method; FILE keeps every fit and
is gone on with where it ended. ``--fits`` is how many there are to be of each law, ``--laws`` takes some alone,
``--seconds`` ends after about so many.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import nbinom

import hsmm
from benchmarks.machine import commit, machine, versions

LEVEL = 0.9
METHODS = ("information", "profile")


@dataclass(frozen=True, eq=False)
class Law:
    """A model to simulate from, the series it is simulated in, and what is fitted to them from the truth."""

    truth: Any
    lengths: tuple[int, ...]
    fitted: Callable[[], Any]
    known: dict[str, Any]
    """The true values by the parameters' names, nested by state; those that are looked at."""
    starts: bool = True
    """Whether a fit starts at the truth; else states lie so far apart that any start finds them."""


def _moves(n_states: int) -> np.ndarray:
    return (np.ones((n_states, n_states)) - np.eye(n_states)) / (n_states - 1)


def _chain(emission: Any, fitted: Any, lengths: tuple[int, ...], known: dict[str, Any]) -> Law:
    chain = [[0.9, 0.1], [0.2, 0.8]]
    truth = hsmm.HMM.from_parameters(initial_prob=[0.5, 0.5], transition_prob=chain, emission=emission)
    options: dict[str, Any] = {"n_init": 1, "tol": 1e-9, "initial": "uniform"}
    return Law(
        truth, lengths, lambda: hsmm.HMM(2, emission=fitted, **options), {"transition.probability": chain, **known}
    )


def _negative_binomial(shape: np.ndarray, longest: int) -> np.ndarray:
    """(K, D) P(d) where d - 1 is negative binomial, of log-mean and log-size (K, 2)."""
    mean, size = np.exp(shape).T[..., None]
    table = nbinom.pmf(np.arange(longest), size, size / (size + mean))
    return table / table.sum(1, keepdims=True)


def laws() -> dict[str, Law]:
    centre, spread = [[0.0], [2.5]], [[1.0], [0.5]]
    moments = {"emission.mean": centre, "emission.covariance": spread}
    dwell = np.array([[math.log(8.0), math.log(3.0)], [math.log(14.0), math.log(3.0)]])
    semi = hsmm.HSMM.from_parameters(
        initial_prob=[0.5, 0.5],
        transition_prob=_moves(2),
        duration_prob=_negative_binomial(dwell, 400),
        emission=hsmm.emissions.Gaussian.from_parameters([[0.0], [4.0]], [[[1.0]], [[1.0]]]),
    )
    few: dict[str, Any] = {
        "n_init": 1,
        "tol": 1e-9,
        "initial": "uniform",
        "max_duration": 80,
        "duration": "negative_binomial",
        "emission": "gaussian",
    }
    return {
        "gaussian, 300 rows": _chain(
            hsmm.emissions.Gaussian.from_parameters(centre, spread),
            hsmm.emissions.Gaussian(covariance="diag"),
            (100,) * 3,
            moments,
        ),
        "student_t, 300 rows": _chain(
            hsmm.emissions.StudentT.from_parameters(centre, spread, [5.0, 5.0]),
            hsmm.emissions.StudentT(covariance="diag"),
            (100,) * 3,
            moments,
        ),
        "durations, 36 segments": Law(
            semi, (100,) * 4, lambda: hsmm.HSMM(2, **few), {"duration.shape": dwell.tolist()}, False
        ),
    }


def measured(law: Law, seed: int) -> list[dict[str, Any]]:
    """A row for each number that is known: its estimate, standard error and ends by each method."""
    drawn = [law.truth.sample(n, random_state=1000 * seed + s)[0] for s, n in enumerate(law.lengths)]
    X, lengths, rows = np.concatenate(drawn), list(law.lengths), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = law.fitted().fit(X, lengths, start=law.truth if law.starts else None)
        share = model.predict_proba(X, lengths).sum(0)
        tables = {method: model.confidence_intervals(X, lengths, level=LEVEL, method=method) for method in METHODS}
    for name, values in law.known.items():
        own = {method: table.filter(pl.col("parameter") == name) for method, table in tables.items()}
        for place, truth in enumerate(np.ravel(values)):
            first = own["information"].row(place, named=True)
            row = {"parameter": name, "state": first["state"], "index": first["index"], "truth": float(truth)}
            row |= {key: first[key] for key in ("estimate", "std_error")} | {"rows": float(share[first["state"]])}
            for method, table in own.items():
                one = table.row(place, named=True)
                row[method] = [one["low"], one["high"]]
            rows.append(row)
    return rows


def shares(fits: dict[str, list[list[dict[str, Any]]]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By law, parameter and method: the share of intervals that hold the truth, and how many there are."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for law, kept in fits.items():
        flat = [row for fit in kept for row in fit]
        for key in sorted({_key(row) for row in flat}):
            own = [row for row in flat if _key(row) == key]
            held = found.setdefault(law, {}).setdefault(key, {})
            for method in METHODS:
                ends = [(row["truth"], *row[method]) for row in own if None not in row[method]]
                inside = [low <= truth <= high for truth, low, high in ends if math.isfinite(low)]
                held[method] = [round(float(np.mean(inside)), 4) if inside else math.nan, len(inside)]
    return found


def _key(row: dict[str, Any]) -> str:
    return row["parameter"] + (f" {row['index']}" if row["parameter"].startswith("duration") else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--laws", nargs="*", help="parts of the names of laws; all by default")
    parser.add_argument("--seconds", type=float, default=math.inf)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(chosen.json.read_text()) if chosen.json.exists() else {"fits": {}}
    began = time.monotonic()
    for name, law in laws().items():
        if chosen.laws and not any(part in name for part in chosen.laws):
            continue
        done = kept["fits"].setdefault(name, [])
        while len(done) < chosen.fits and time.monotonic() - began < chosen.seconds:
            done.append(measured(law, len(done)))
    kept["coverage"] = shares(kept["fits"])
    kept |= {"machine": machine(), "versions": versions(), "commit": commit()}
    chosen.json.write_text(json.dumps(kept))
    for name, by_key in kept["coverage"].items():
        for key, held in by_key.items():
            said = "  ".join(f"{method} {share:.3f} of {n}" for method, (share, n) in held.items())
            print(f"{name:26} {key:28} {said}")


if __name__ == "__main__":
    main()
