"""pyhsmm: the backward messages of its C++ alone, in log space.

Its Python does not import with today's NumPy and SciPy, and its EM fails with a longest duration; the extension module
is loaded by itself.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.adapter import Ending
from benchmarks.works import Array, Task


class Adapter:
    ending: Ending = "open"

    def __init__(self, task: Task, n_restarts: int) -> None:  # noqa: ARG002 - one at a time
        work = task.work
        squares = (task.X[:, None] - task.mean) ** 2 / task.variance + np.log(2 * np.pi * task.variance)
        durations = np.zeros((work.n_rows, work.n_states))
        durations[: work.max_duration] = task.duration.T[: work.n_rows]
        longer = 1 - durations.cumsum(0)
        with np.errstate(divide="ignore"):
            log_durations = [np.maximum(np.log(x.clip(0)), -1e6) for x in (durations, longer)]
        self.messages = _extension().messages_backwards_log
        self.tables = (np.maximum(task.transition, 1e-50), -0.5 * squares.sum(-1), *log_durations)
        self.log_initial = np.log(task.initial)
        self.truncation = work.max_duration

    def e_step(self) -> Array:
        ends, starts = (np.empty_like(self.tables[1]) for _ in range(2))
        self.messages(*self.tables, ends, starts, True, self.truncation)
        return starts

    def log_likelihood(self) -> float:
        return float(np.logaddexp.reduce(self.log_initial + self.e_step()[0]))


def _extension() -> Any:
    package = importlib.util.find_spec("pyhsmm")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "internals"
    name = "pyhsmm.internals.hsmm_messages_interface"
    spec = importlib.util.spec_from_file_location(name, next(folder.glob("hsmm_messages_interface*.so")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
