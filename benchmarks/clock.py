"""The clock of the processor at work, and what one store a cycle would cost.

Both passes of the semi-Markov recursion touch every (state, duration) cell with three stores a step: one forward, two
backward (the messages and the counts). A core that retires one 32-byte store a cycle can go no faster than that.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BYTES_A_STORE = 32
STORES_A_CELL = 3
_ADDITIONS = 200_000_000
_SOURCE = """
long chain(long n) {
    long x = 0;
    for (long i = 0; i < n; i += 20) {
#define ADD x += i; __asm__ volatile("" : "+r"(x));
        ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
    }
    return x;
}
"""


def gigahertz() -> float | None:
    """Measured: additions that each wait for the one before take one cycle each. None without a compiler."""
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "chain.c", Path(folder) / "chain.so"
        source.write_text(_SOURCE)
        built = subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", library, source], capture_output=True, check=False
        )
        if built.returncode:
            return None
        chain = ctypes.CDLL(str(library)).chain
        chain.argtypes, chain.restype = [ctypes.c_long], ctypes.c_long
        return max(_ADDITIONS / _seconds(chain) / 1e9 for _ in range(5))


def store_bound(n_states: int, max_duration: int, bytes_per_number: int, clock: float) -> float:
    """Least nanoseconds a cell of both passes; a cell is one of K·D + K²."""
    lanes = BYTES_A_STORE / bytes_per_number
    share = max_duration / (max_duration + n_states)
    return STORES_A_CELL * share / (lanes * clock)


def _seconds(chain: Callable[[int], int]) -> float:
    start = time.process_time()
    chain(_ADDITIONS)
    return time.process_time() - start
