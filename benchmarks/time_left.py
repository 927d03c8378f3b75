"""How many of the stays to come 80 % intervals hold, after few were seen: by the fitted law, by the one to be expected,
and by the true one.

``python -m benchmarks.time_left --json FILE`` prints a line for each truth, family and number of segments.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hsmm
from benchmarks.machine import commit, machine, versions

SEGMENTS = (3, 5, 10, 30)
MEAN = 12
N_TO_COME, N_TO_LEARN = 400, 100_000
Draw = Callable[[np.random.Generator, int], np.ndarray]

TRUTHS: dict[str, Draw] = {
    "geometric": lambda rng, n: rng.geometric(1.0 / MEAN, n),
    "negative binomial, size 2": lambda rng, n: 1 + rng.poisson((MEAN - 1) * rng.gamma(2.0, 0.5, n)),
    "regular": lambda rng, n: 1 + rng.poisson((MEAN - 1) * rng.gamma(50.0, 0.02, n)),
    "log-normal": lambda rng, n: np.ceil(np.exp(rng.normal(2.2, 0.9, n))).astype(int),
}
LAWS = ("geometric", "negative_binomial", "log_normal")
FAMILIES: dict[str, Any] = {
    "HMM": hsmm.HMM(2, n_init=1, tol=1e-6),
    **{name: hsmm.HSMM(2, duration=name, max_duration=60, n_init=1, tol=1e-6) for name in LAWS},
}


def held(law: np.ndarray, to_come: np.ndarray) -> float:
    """The share of stays within the middle 80 % of a law (D,)."""
    low, high = np.searchsorted(law.cumsum(), [0.1, 0.9]) + 1
    return float(((to_come >= low) & (to_come <= high)).mean())


def fitted_law(model: Any, n_columns: int) -> np.ndarray:
    """(K, D) of a fitted estimator, what lies beyond in the last column."""
    if isinstance(model, hsmm.HMM):
        stay = model.transition_prob_.diagonal()[:, None]
        return (1.0 - stay) * stay ** np.arange(n_columns)
    law, tail = model.duration_prob_, model.tail_prob_[:, None]
    beyond = law[:, -1:] * (1.0 - tail) * tail ** np.arange(n_columns - law.shape[1] + 1)
    return np.concatenate([law[:, :-1], beyond], 1)


def measured(draw: Draw, family: Any, n_segments: int, seed: int) -> list[tuple[float, float, float]]:
    """Of each state, what the fitted law, what the one to be expected and what the true one hold."""
    rng = np.random.default_rng(seed)
    states = np.repeat(np.arange(n_segments) % 2, draw(rng, n_segments))
    to_come = draw(rng, N_TO_COME)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = family.clone().fit(50.0 * states + rng.normal(size=len(states)))
        wide = model.with_predictive_durations().duration_prob_
    own, true = fitted_law(model, 4000), np.bincount(draw(rng, N_TO_LEARN)) / N_TO_LEARN
    return [(held(own[k], to_come), held(wide[k], to_come), held(true[1:], to_come)) for k in range(2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--fits", type=int, default=60)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for truth, draw in TRUTHS.items():
        for name, family in FAMILIES.items():
            for n_segments in SEGMENTS:
                found = [pair for seed in range(chosen.fits) for pair in measured(draw, family, n_segments, seed)]
                shares = dict(zip(("fitted", "expected", "true"), np.mean(found, 0).round(3).tolist(), strict=True))
                rows.append({"truth": truth, "model": name, "segments": n_segments, **shares})
                words = "  ".join(f"{law} {share:.3f}" for law, share in shares.items())
                print(f"{truth:26} {name:18} {n_segments:3} segments  {words}")
    told = {"rows": rows, "fits": chosen.fits, "machine": machine(), "versions": versions(), "commit": commit()}
    chosen.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
