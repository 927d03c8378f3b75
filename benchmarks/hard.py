"""Small random sets of hard rows: whether default fits raise, reach the best of many starts, and follow units.

``python -m benchmarks.hard --json FILE`` draws 200 sets of two to five distinct values, 100 of states whose spreads
differ by powers of ten, 100 of which one row in a hundred is wild, and 50 regressions on covariates of random units.
Each is fitted with default options, from 200 starts, and in other units. FILE keeps the figures of each set and is gone
on with where it ended; ``--seconds`` ends after about so many, ``--kinds`` takes some kinds alone, ``--again`` tries
those anew that fell short, and ``--seed`` draws other sets. What is compared is the objective without what it owes to
degenerate states.
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
import torch

import hsmm
from benchmarks.machine import commit, machine, versions
from hsmm.sequences import Sequences
from hsmm.training.objective import Objective
from hsmm.training.standing import sober_objective

NEAR = 0.05
"""Nats below the best at which a fit counts as having reached it."""
UNITS = 1e-6
"""Nats by which a log-likelihood may move with the units."""
N_STARTS = 200


@dataclass(frozen=True, eq=False)
class Case:
    """Rows, what is fitted to them, and the same rows in other ``units`` with log |d units / d rows|."""

    X: np.ndarray
    make: Callable[..., Any]
    units: np.ndarray | None = None
    log_jacobian: float = 0.0
    context: np.ndarray | None = None
    moved_context: np.ndarray | None = None


def few_values(rng: np.random.Generator) -> Case:
    """Two to five levels, drawn independently, in turn, or by a lasting chain; some sets blurred, some with gaps."""
    n_rows, levels = int(rng.integers(20, 101)), rng.permutation(rng.choice(9, int(rng.integers(2, 6)), replace=False))
    order = rng.choice(["drawn", "in turn", "lasting"])
    if order == "drawn":
        states = rng.integers(0, len(levels), n_rows)
    elif order == "in turn":
        states = np.arange(n_rows) % len(levels)
    else:
        states = np.cumsum(rng.random(n_rows) < 0.15) % len(levels)
    X = levels[states] * 10.0 ** rng.uniform(-3, 3)
    X = X + rng.choice([0.0, 0.0, 1e-5]) * np.ptp(X) * rng.normal(size=n_rows)
    X[rng.random(n_rows) < rng.choice([0.0, 0.0, 0.1])] = np.nan
    return _numbers(rng, X, int(rng.integers(2, 4)), ["gaussian", "gaussian", "student_t"])


def mixed_scales(rng: np.random.Generator) -> Case:
    """Lasting states whose standard deviations are 1e-4 to 1e4 times the first's, some of one mean, some of several."""
    n_states, n_rows = int(rng.integers(2, 4)), int(rng.integers(90, 151))
    states = np.cumsum(rng.random(n_rows) < 0.08) % n_states
    size = 10.0 ** np.r_[0.0, rng.uniform(-4, 4, n_states - 1)]
    centre = rng.choice([0.0, 3.0]) * rng.normal(size=n_states) * size.max()
    return _numbers(rng, rng.normal(centre[states], size[states]), n_states, ["gaussian", "gaussian", "student_t"])


def wild_rows(rng: np.random.Generator) -> Case:
    """Lasting states; one row in a hundred is 10 to 1e6 standard deviations off."""
    n_states, n_rows = int(rng.integers(2, 4)), int(rng.integers(100, 151))
    states = np.cumsum(rng.random(n_rows) < 0.06) % n_states
    X = rng.normal(4.0 * states, 1.0)
    rows = rng.choice(n_rows, max(1, round(0.01 * n_rows)), replace=False)
    X[rows] = rng.choice([-1.0, 1.0], len(rows)) * X.std() * 10.0 ** rng.uniform(1, 6, len(rows))
    return _numbers(rng, X, n_states, ["gaussian", "student_t"])


def regressions(rng: np.random.Generator) -> Case:
    """Two lasting states of a generalised linear model on covariates in units and from origins of any size."""
    family = str(rng.choice(["bernoulli", "poisson", "negative_binomial", "gamma", "gaussian"]))
    n_rows, n_columns = int(rng.integers(100, 151)), int(rng.integers(1, 4))
    states = np.cumsum(rng.random(n_rows) < 0.06) % 2
    C, coef = rng.normal(size=(n_rows, n_columns)), rng.normal(size=(2, n_columns))
    eta = np.array([0.3, 1.5])[states] + np.clip((C * coef[states]).sum(1), -3.0, 3.0)
    y = {
        "bernoulli": lambda: rng.random(n_rows) < 1.0 / (1.0 + np.exp(1.0 - 2.0 * eta)),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "negative_binomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(3.0, 1.0 / 3.0, n_rows)),
        "gamma": lambda: rng.gamma(4.0, np.exp(eta) / 4.0),
        "gaussian": lambda: eta + 0.3 * rng.normal(size=n_rows),
    }[family]()
    options = {"inverse_link": "exp"} if family == "gamma" else {}
    if rng.random() < 0.3:
        options |= {"regularizer": "ridge"}
    law = hsmm.emissions.GLM(family=family, **options)  # type: ignore[arg-type]
    factor = 10.0 ** rng.uniform(-9, 9, n_columns)
    moved = factor * (C + rng.normal(size=n_columns) * 10.0 ** rng.uniform(-2, 5, n_columns))
    rows = y.astype(float)
    return Case(rows, lambda **o: hsmm.HMM(2, emission=law, **o), rows, 0.0, C, moved)


KINDS = {
    "few values": (few_values, 200),
    "mixed scales": (mixed_scales, 100),
    "wild rows": (wild_rows, 100),
    "regressions": (regressions, 50),
}


def case(kind: str, number: int, seed: int = 0) -> Case:
    """The set of this ``number``; another ``seed`` than 0 draws sets that nothing was ever tried on."""
    draw, _ = KINDS[kind]
    return draw(np.random.default_rng([list(KINDS).index(kind), number, *([seed] if seed else [])]))


def measured(found: Case) -> dict[str, Any]:
    """Heights of the default fit and of the best of many starts, how far the first is ``below``, what units ``move``.

    A fit that raises is named under ``raised``, and the figures that need it are absent.
    """
    figures: dict[str, Any] = {}
    try:
        plain = _fitted(found.make(), found.X, found.context)
        figures |= {"objective": plain._best.objective, "standing": _standing(plain, found)}
        if found.units is not None:
            moved = _fitted(found.make(), found.units, found.moved_context)
            figures["move"] = moved.log_likelihood_ + found.log_jacobian - plain.log_likelihood_
        best = _fitted(found.make(n_init=N_STARTS, random_state=1), found.X, found.context)
        figures |= {"best_objective": best._best.objective, "best_standing": _standing(best, found)}
        figures["below"] = figures["best_standing"] - figures["standing"]
    except Exception as error:
        figures["raised"] = f"{type(error).__name__}: {error}"
    return figures


def fell_short(figures: dict[str, Any]) -> bool:
    return (
        "raised" in figures
        or not figures["below"] <= NEAR
        or not abs(figures.get("move", 0.0)) <= UNITS * max(1.0, abs(figures["objective"]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(chosen.json.read_text()) if chosen.json.exists() else {"seed": chosen.seed, "cases": {}}
    if (seed := kept.get("seed", 0)) != chosen.seed:
        parser.error(f"{chosen.json} holds sets of seed {seed}, not of {chosen.seed}; name another file.")
    cases, began = kept["cases"], time.monotonic()
    every = [(kind, number) for kind in chosen.kinds for number in range(KINDS[kind][1])]
    every.sort(key=lambda one: one[1] / KINDS[one[0]][1])
    left = [
        (kind, number)
        for kind, number in every
        if (name := f"{kind} {number}") not in cases or (chosen.again and fell_short(cases[name]))
    ]
    for kind, number in left:
        if time.monotonic() - began > chosen.seconds:
            break
        figures = cases[f"{kind} {number}"] = measured(case(kind, number, chosen.seed))
        if fell_short(figures):
            print(f"{kind} {number}: {figures}", flush=True)
        kept |= {"machine": machine(), "versions": versions(), "commit": commit()}
        chosen.json.write_text(json.dumps(kept, indent=1))
    print("\n".join(lines(cases)))


def lines(cases: dict[str, Any]) -> list[str]:
    """A line for each kind: sets, how many raised, ended below the best, and moved with the units."""
    said = []
    for kind in KINDS:
        of = [figures for name, figures in cases.items() if name.rpartition(" ")[0] == kind]
        raised = sum("raised" in figures for figures in of)
        sound = [figures for figures in of if "raised" not in figures]
        below = sorted((f["below"] for f in sound if not f["below"] <= NEAR), reverse=True)
        moves = [abs(f["move"]) / max(1.0, abs(f["objective"])) for f in sound if "move" in f]
        moved = sum(not move <= UNITS for move in moves)
        worst = ", ".join(f"{value:.2f}" for value in below[:5])
        said.append(
            f"{kind:14} {len(of):4} sets, {raised} raised, {len(below)} below ({worst}), {moved} moved by units"
        )
    return said


def _numbers(rng: np.random.Generator, X: np.ndarray, n_states: int, families: list[str]) -> Case:
    family, factor, origin = str(rng.choice(families)), 10.0 ** rng.uniform(-6, 6), rng.normal()
    spread, n_seen = float(np.nanstd(X)), int(np.isfinite(X).sum())

    def make(**options: Any) -> hsmm.HMM:
        return hsmm.HMM(n_states, emission=family, **options)

    if spread <= 1e-9 * np.nanmax(np.abs(X)):  # a constant has no unit
        return Case(X, make)
    return Case(X, make, factor * (X / spread + origin), n_seen * math.log(factor / spread))


def _fitted(model: Any, X: np.ndarray, context: np.ndarray | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, context=context)


def _standing(model: Any, found: Case) -> float:
    covariates = None if found.context is None else torch.from_numpy(found.context)
    rows = torch.from_numpy(found.X).reshape(len(found.X), -1)
    target, best = Objective(Sequences.from_arrays(rows, covariates=covariates)), model._best
    reached = torch.tensor([best.objective], dtype=torch.float64)
    return float(sober_objective(best.model, reached, target)[0])


if __name__ == "__main__":
    main()
