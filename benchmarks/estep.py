"""Nanoseconds a cell of the native kernels on one thread; a cell is one of T·(K·D + K²), an HMM has D = 0.

python -m benchmarks.estep
"""

# ruff: noqa: T201 - a table on standard output is what it is for

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hsmm.kernels import native
from hsmm.potentials import Potentials

REPEATS = 7


class Case(NamedTuple):
    name: str
    n_states: int
    max_duration: int  # 0: an HMM
    n_series: int
    n_steps: int

    @property
    def n_cells(self) -> int:
        return self.n_series * self.n_steps * self.n_states * (self.n_states + self.max_duration)


CASES = [
    Case("K=5 D=100", 5, 100, 16, 1000),
    Case("K=5 D=100, one series", 5, 100, 1, 10_000),
    Case("K=3 D=30", 3, 30, 16, 1000),
    Case("K=3 D=30, one series", 3, 30, 1, 10_000),
    Case("HMM K=5", 5, 0, 100, 1000),
    Case("HMM K=5, one series", 5, 0, 1, 10_000),
]


def potentials(case: Case, dtype: torch.dtype) -> Potentials:
    generator = torch.Generator().manual_seed(0)

    def law(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).log_softmax(-1)

    k, d = case.n_states, case.max_duration
    return Potentials(
        log_initial=law(1, k),
        log_transition=law(1, k, k),
        log_duration=law(1, k, d) if d else None,
        log_emission=torch.randn(1, case.n_series * case.n_steps, k, generator=generator, dtype=dtype),
        offsets=torch.arange(case.n_series + 1) * case.n_steps,
    )


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least CPU time of several runs."""
    durations = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        durations.append(time.process_time() - start)
    return min(durations)


def main() -> int:
    if not native.available():
        print("the native kernel is not built; run: python setup.py build_ext --inplace", file=sys.stderr)
        return 1
    torch.set_num_threads(1)
    header = ("case", "type", "forward", "forward+backward", "Viterbi", "fwd+bwd ns/step")
    print("{:24}{:>9}{:>10}{:>18}{:>10}{:>17}".format(*header))
    for case in CASES:
        for dtype in (torch.float64, torch.float32):
            p = potentials(case, dtype)
            forward, both, paths = (
                cpu_seconds(lambda p=p, kernel=kernel: kernel(p)) * 1e9 / case.n_cells
                for kernel in (native.log_partition, native.expected_counts, native.viterbi)
            )
            per_step = both * case.n_cells / (case.n_series * case.n_steps)
            type_name = str(dtype).removeprefix("torch.")
            print(f"{case.name:24}{type_name:>9}{forward:10.3f}{both:18.3f}{paths:10.3f}{per_step:17.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
