"""What a fit tells while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from hsmm.models.parameters import whole
from hsmm.training.objective import Watch

_EVERY = 10  # iterations to a line, where not every iteration has one


@dataclass(frozen=True)
class Progress:
    """How a fit stands after one iteration.

    - ``iteration``: iterations so far, from 1
    - ``n_restarts``: restarts that climb side by side at present
    - ``objective``: the best penalised log-likelihood that any restart has reached, in nats
    - ``seconds``: since the fit began
    """

    iteration: int
    n_restarts: int
    objective: float
    seconds: float


Callback: TypeAlias = Callable[[Progress], object]


def check_verbose(verbose: Any) -> None:
    """Raise ``ValueError`` unless :func:`watcher` knows how much that is to tell."""
    if whole("verbose", verbose, 0) > 2:
        raise ValueError(f"verbose is {verbose}; expected 0, 1 or 2.")


def watcher(verbose: int, callback: Callback | None) -> Watch | None:
    """What training tells of each iteration, for those who listen; None where nobody does.

    ``verbose`` 1 writes every tenth iteration to standard output and 2 each; ``callback`` is given each
    :class:`Progress`.
    """
    heard = [] if callback is None else [callback]
    if verbose:
        every = _EVERY if verbose == 1 else 1
        heard.append(lambda progress: _write(progress) if progress.iteration % every == 0 else None)
    return _Watcher(heard) if heard else None


class _Watcher:
    def __init__(self, heard: list[Callback]) -> None:
        self._heard, self._began = heard, time.monotonic()
        self._iteration, self._best = 0, float("-inf")

    def __call__(self, objective: Tensor) -> None:
        self._iteration += 1
        self._best = max(self._best, float(objective.nan_to_num(nan=float("-inf")).max()))
        seconds = time.monotonic() - self._began
        for listener in self._heard:
            listener(Progress(self._iteration, len(objective), self._best, seconds))


def _write(progress: Progress) -> None:
    sys.stdout.write(
        f"iteration {progress.iteration:5d}   {progress.n_restarts:3d} restarts   "
        f"objective {progress.objective:.4f}   {progress.seconds:.1f} s\n"
    )
    sys.stdout.flush()
