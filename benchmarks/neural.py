"""A neural semi-Markov model at the size of the first example of nhsmm's guide.

``python -m benchmarks.neural --json FILE``: 512 rows of five features, three states, durations to 30, a convolution of
four channels before an LSTM of 64 cells, three restarts of ten iterations, one thread. The three states are well apart.
"""

# ruff: noqa: T201 - lines on standard output are what it is for

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hsmm
from benchmarks.machine import commit, machine, versions

N_ROWS, N_FEATURES, N_STATES, LONGEST = 512, 5, 3, 30


def regimes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and their states, which last about 13 steps."""
    rng, states = np.random.default_rng(seed), np.empty(0, dtype=np.int64)
    while len(states) < N_ROWS:
        following = rng.choice([k for k in range(N_STATES) if not len(states) or k != states[-1]])
        states = np.append(states, np.full(1 + rng.poisson(12), following))
    states = states[:N_ROWS]
    return 4.0 * np.eye(N_STATES, N_FEATURES)[states] + rng.normal(size=(N_ROWS, N_FEATURES)), states


def fitted(seed: int) -> dict[str, Any]:
    """CPU seconds of the fit, the states that are alive, and how many rows are told rightly."""
    X, states = regimes(seed)
    model = hsmm.HSMM(
        N_STATES,
        duration=hsmm.durations.Contextual(family="categorical"),
        max_duration=LONGEST,
        context=hsmm.context.CNNLSTM(channels=4, hidden=64, source="x"),
        n_init=3,
        tol=0.0,
        trainer=hsmm.trainers.AdamW(n_steps=10, learning_rate=0.05),
        random_state=seed,
    )
    began = time.process_time()
    model.fit(X)
    seconds, found = time.process_time() - began, model.predict(X)
    accuracy = hsmm.metrics.aligned_accuracy(states, found)
    return {"seed": seed, "cpu_seconds": seconds, "n_alive": len(np.unique(found)), "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rows = [fitted(seed) for seed in range(asked.seeds)]
    for row in rows:
        print(row)
    if asked.json is not None:
        about = {"machine": machine(), "versions": versions(), "commit": commit()}
        asked.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
