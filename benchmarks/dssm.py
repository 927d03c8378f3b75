"""Does `hsmm.DSSM` find the states of the deep state-space model's own generator, by either training?

    python -m benchmarks.dssm --seeds 5 --json FILE

Five states, ten features, a bias of 0.9 to stay, 200 series of 50 steps, the last fifth for testing: accuracy under the
best naming of states beside that of the true parameters, log-likelihood per step, and the lower bound.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hsmm
from benchmarks.machine import commit, machine, versions

N_SERIES, N_STEPS, N_STATES, N_FEATURES, BIAS = 200, 50, 5, 10, 0.9
SEEN = 160 * N_STEPS


@dataclass(frozen=True)
class World:
    """Rows of all series, the states that made them, and the model that drew both."""

    X: np.ndarray
    states: np.ndarray
    truth: hsmm.HMM


def world(seed: int) -> World:
    """Means and noise are standard normal; states stay with probability ``BIAS``, or move to any other alike."""
    rng = np.random.default_rng(seed)
    moves = np.full((N_STATES, N_STATES), (1.0 - BIAS) / (N_STATES - 1))
    np.fill_diagonal(moves, BIAS)
    law = hsmm.emissions.Gaussian.from_parameters(
        mean=rng.normal(size=(N_STATES, N_FEATURES)), covariance=np.ones((N_STATES, N_FEATURES))
    )
    first = np.full(N_STATES, 1.0 / N_STATES)
    truth = hsmm.HMM.from_parameters(initial_prob=first, transition_prob=moves, emission=law)
    drawn = [truth.sample(N_STEPS, random_state=int(rng.integers(2**31))) for _ in range(N_SERIES)]
    return World(np.concatenate([x for x, _ in drawn]), np.concatenate([z for _, z in drawn]), truth)


def tried(seed: int, training: str, n_init: int, n_steps: int) -> dict[str, Any]:
    """Accuracy, and nats per row, on the series for testing: of the true parameters and of those found."""
    made = world(seed)
    fresh, states = made.X[SEEN:], made.states[SEEN:]
    seen, unseen = [N_STEPS] * (SEEN // N_STEPS), [N_STEPS] * (N_SERIES - SEEN // N_STEPS)
    began = time.process_time()
    bare = hsmm.DSSM(N_STATES, training=training, n_init=n_init, max_iter=n_steps, random_state=seed)
    model = bare.fit(made.X[:SEEN], seen)
    found: dict[str, Any] = {"seed": seed, "training": training, "cpu_seconds": time.process_time() - began}
    for name, one in (("true", made.truth), ("found", model)):
        accuracy = hsmm.metrics.aligned_accuracy(states, one.predict(fresh, unseen))
        found[name] = {"accuracy": accuracy, "score": one.score(fresh, unseen) / len(fresh)}
    if training == "variational":
        found["lower_bound"] = model.lower_bound(fresh, unseen) / len(fresh)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trainings", nargs="*", default=["exact", "variational"])
    parser.add_argument("--n-init", type=int, default=4)
    parser.add_argument("--n-steps", type=int, default=300)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for training in asked.trainings:
        for seed in range(asked.seeds):
            rows.append(tried(seed, training, asked.n_init, asked.n_steps))
            print(rows[-1], flush=True)
    if asked.json is not None:
        about = {"machine": machine(), "versions": versions(), "commit": commit()}
        asked.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
