"""How the E-step's time grows with length, states, durations, restarts and threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.clock import store_bound
from benchmarks.tables import n_cells, random_tables
from hsmm import inference
from hsmm.kernels import native
from hsmm.potentials import Potentials

Seconds = Callable[[Callable[[], object]], float]
TYPES = {"float64": torch.float64, "float32": torch.float32}
N_LANES = 16


@dataclass(frozen=True)
class Curve:
    """Seconds of the E-step as ``axis`` takes these values; ``make`` gives the tables for one of them."""

    title: str
    axis: str
    values: tuple[int, ...]
    make: Callable[[int, torch.dtype], Potentials]


STATES = (2, 4, 8, 16, 32, 64)
DURATIONS = (10, 30, 100, 300, 1_000, 2_000)
RESTARTS = (1, 2, 4, 8, 16, 32, 64)
SIZES = {"T": "n_steps", "K": "n_states", "D": "max_duration", "restarts": "n_restarts"}


def _curve(title: str, axis: str, values: tuple[int, ...], **fixed: int) -> Curve:
    """The axis is one of the sizes of ``random_tables``; the others are ``fixed``."""

    def make(value: int, dtype: torch.dtype) -> Potentials:
        sizes: dict[str, Any] = {**fixed, SIZES[axis]: value}
        return random_tables(**sizes, dtype=dtype)

    return Curve(title, axis, values, make)


CURVES = (
    _curve("one series, K=5 D=100", "T", (100, 1_000, 10_000, 100_000), n_states=5, max_duration=100),
    _curve("16 series, K=5 D=100", "T", (100, 1_000, 10_000), n_states=5, max_duration=100, n_series=N_LANES),
    _curve("one HMM, T=10,000", "K", STATES, max_duration=0, n_steps=10_000),
    _curve("16 HMMs, T=1,000", "K", STATES, max_duration=0, n_steps=1_000, n_series=N_LANES),
    _curve("one series, K=5 T=2,000", "D", DURATIONS, n_states=5, n_steps=2_000),
    _curve("16 series, K=5 T=500", "D", DURATIONS, n_states=5, n_steps=500, n_series=N_LANES),
    _curve("K=5 D=100 T=1,000", "restarts", RESTARTS, n_states=5, max_duration=100, n_steps=1_000),
    _curve("HMM, K=5 T=1,000", "restarts", RESTARTS, n_states=5, max_duration=0, n_steps=1_000),
)


def curves() -> list[dict[str, Any]]:
    """Every curve in both types on one thread, CPU seconds."""
    with on_threads(1):
        return [
            {"title": curve.title, "axis": curve.axis, "type": name, "points": list(_points(curve, dtype))}
            for curve in CURVES
            for name, dtype in TYPES.items()
        ]


def _points(curve: Curve, dtype: torch.dtype) -> Iterable[dict[str, float]]:
    for value in curve.values:
        p = curve.make(value, dtype)
        seconds = least(partial(inference.expected_counts, p, kernel="native"))
        yield {"value": value, "seconds": seconds, "cells": n_cells(p)}


def threads(most: int, *, n_steps: int = 2_000) -> list[dict[str, float]]:
    """Wall seconds of 64 series of K=5 D=100 with 1, 2, ... threads."""
    p = random_tables(5, 100, n_steps, n_series=64)
    found = []
    for n in (n for n in (1, 2, 4, 8, 16, 32) if n <= most):
        with on_threads(n):
            wall = least(partial(inference.expected_counts, p, kernel="native"), clock=time.perf_counter)
        found.append({"threads": n, "seconds": wall, "cells": n_cells(p)})
    return found


def per_cell(clock: float | None, *, n_steps: int = 1_000) -> list[dict[str, Any]]:
    """Nanoseconds a cell of each kernel alone, lanes full and one series, and the bound where stores set it."""
    shapes = [(5, 100, N_LANES), (5, 100, 1), (3, 30, N_LANES), (3, 30, 1), (5, 0, N_LANES), (5, 0, 1)]
    found = []
    for n_states, max_duration, n_series in shapes:
        for name, dtype in TYPES.items():
            p = random_tables(n_states, max_duration, n_steps, n_series=n_series, dtype=dtype)
            kernels: dict[str, Callable[[Potentials], object]] = {
                "forward": native.log_partition,
                "both passes": native.expected_counts,
                "Viterbi": native.viterbi,
            }
            with on_threads(1):
                nanoseconds = {label: least(partial(kernel, p)) * 1e9 / n_cells(p) for label, kernel in kernels.items()}
            bound = store_bound(n_states, max_duration, dtype.itemsize, clock) if clock and max_duration else None
            shape = {"n_states": n_states, "max_duration": max_duration, "n_series": n_series, "n_steps": n_steps}
            found.append({**shape, "type": name, "nanoseconds": nanoseconds, "bound": bound})
    return found


@contextmanager
def on_threads(n: int) -> Iterator[None]:
    """So many threads for torch and the kernels, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def least(work: Callable[[], object], *, clock: Callable[[], float] = time.process_time, enough: float = 0.15) -> float:
    """The least time of one call over as many as fit in ``enough`` seconds, at least three."""
    durations: list[float] = []
    while len(durations) < 3 or (sum(durations) < enough and len(durations) < 200):
        start = clock()
        work()
        durations.append(clock() - start)
    return min(durations)
