"""Before any number: is what is measured correct?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import torch

from benchmarks.peers.ours import potentials
from benchmarks.works import WORKS, Task, make_task
from hsmm import inference
from hsmm.kernels import native

ROOT = Path(__file__).parents[1]
TESTS = ("tests/hsmm/inference/test_oracle.py", "tests/hsmm/inference/test_enumeration.py", "tests/hsmm/kernels")
EXACT = {"closed": -7373.492816182917, "open": -7372.369773180403, "viterbi": -7373.428094744657}
"""Work d at its true parameters, by a NumPy recursion that shares no code with this library."""


def faults() -> list[str]:
    """What is wrong; empty if every number may be trusted."""
    if not native.available():
        return ["the native kernel is not built; run: python setup.py build_ext --inplace"]
    return [*kernels_disagree(make_task(WORKS["d"])), *exact_values_missed(), *tests_fail()]


def tests_fail() -> Iterator[str]:
    """The enumeration of all segmentations and the kernels' own tests, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        yield "the tests are red:\n" + (done.stdout + done.stderr)[-2000:]


def exact_values_missed() -> Iterator[str]:
    task = make_task(WORKS["d"])
    closed, open_ = (potentials(task, right_censored=flag) for flag in (False, True))
    found = {
        "closed": inference.log_partition(closed),
        "open": inference.log_partition(open_),
        "viterbi": inference.viterbi(open_).log_probability,
    }
    for name, value in found.items():
        if abs(float(value) - EXACT[name]) > 1e-9 * abs(EXACT[name]):
            yield f"work d, {name}: {float(value)!r}, expected {EXACT[name]!r}"


def kernels_disagree(task: Task, tolerance: float = 1e-10) -> Iterator[str]:
    """Native against reference on this task, in every field, segments ending with the series or not."""
    for right_censored in (False, True):
        p = potentials(task, right_censored=right_censored)
        ours, right = (inference.posterior(p, kernel=kernel) for kernel in ("native", "reference"))
        for field in fields(ours):
            one, other = getattr(ours, field.name), getattr(right, field.name)
            if not torch.allclose(one, other, rtol=tolerance, atol=tolerance):
                worst = (one - other).abs().max()
                yield f"work {task.work.name}, {field.name}: native and reference differ by {worst:.1e}"
        paths, right_paths = (inference.viterbi(p, kernel=kernel) for kernel in ("native", "reference"))
        if not torch.equal(paths.states, right_paths.states):
            yield f"work {task.work.name}: native and reference decode different paths"
