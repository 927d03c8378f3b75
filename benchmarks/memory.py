"""Peak memory of one E-step, beyond the tables it is given, in a process of its own.

python -m benchmarks.memory N_STEPS
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import resident

ROOT = Path(__file__).parents[1]
N_STATES, MAX_DURATION = 5, 100
ARRAYS_KEPT = 2
"""Arrays of T·K numbers that outlive the forward pass: its messages at segment ends, and the state posteriors."""
TIMES = 3


def memory(steps: tuple[int, ...] = (10_000, 1_000_000)) -> list[dict[str, Any]]:
    """Megabytes of the E-step of work e, and of a hundred times its length, against ``TIMES`` the arrays kept."""
    found = []
    for n_steps in steps:
        command = [sys.executable, "-m", "benchmarks.memory", str(n_steps)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        bound = TIMES * ARRAYS_KEPT * n_steps * N_STATES * 8 / 1e6
        found.append({"n_steps": n_steps, "megabytes": json.loads(done.stdout), "bound": bound})
    return found


def growth(n_steps: int) -> float:
    """Megabytes by which one E-step raises this process's peak above what the tables need."""
    import torch

    from benchmarks.tables import random_tables
    from hsmm import inference

    torch.set_num_threads(1)
    inference.expected_counts(random_tables(N_STATES, MAX_DURATION, 100))
    p = random_tables(N_STATES, MAX_DURATION, n_steps)
    before = resident.forget_peak()
    inference.expected_counts(p)
    return resident.peak() - before


if __name__ == "__main__":
    print(growth(int(sys.argv[1])))  # noqa: T201 - the parent reads it
