"""How long states last: runs of a decoded path, and the law's own survival curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Runs:
    """Maximal runs of one state in the decoded paths of all series.

    Attributes
    ----------
    state, length
        (n_runs,) the state and the number of steps of each run.
    ended
        (n_runs,) False where the path stops before the run does: its length is a lower bound.
    """

    state: np.ndarray
    length: np.ndarray
    ended: np.ndarray

    def of(self, state: int) -> Runs:
        chosen = self.state == state
        return Runs(self.state[chosen], self.length[chosen], self.ended[chosen])


def runs(path: np.ndarray, series: np.ndarray) -> Runs:
    """Runs of ``path`` (n_rows,), cut where ``series`` (n_rows,) changes; negative states are no state."""
    if len(path) == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return Runs(nothing, nothing, nothing.astype(bool))
    new_series = np.append(True, series[1:] != series[:-1])
    starts = np.flatnonzero(new_series | np.append(True, path[1:] != path[:-1]))
    ends = np.append(starts[1:], len(path))
    next_state = np.append(path, -1)[ends]
    ended = ~np.append(new_series, True)[ends] & (next_state >= 0)
    real = path[starts] >= 0
    return Runs(path[starts][real], (ends - starts)[real], ended[real])


def observed_survival(run_lengths: Runs, max_duration: int) -> np.ndarray:
    """(max_duration,) Kaplan-Meier estimate of P(length >= n), n = 1..max_duration, from one state's runs.

    NaN from the length on at which no run is left to tell.
    """
    longest = np.minimum(run_lengths.length, max_duration + 1)
    at_risk = np.bincount(longest, minlength=max_duration + 2)[::-1].cumsum()[::-1][1 : max_duration + 1]
    endings = np.bincount(longest[run_lengths.ended], minlength=max_duration + 2)[1 : max_duration + 1]
    going_on = 1.0 - endings / np.maximum(at_risk, 1)
    survival = np.append(1.0, np.cumprod(going_on)[:-1])
    return np.where(at_risk > 0, survival, np.nan)


def model_survival(model: Any, max_duration: int) -> np.ndarray:
    """(n_states, n) the model's P(duration >= n); an HMM's are geometric, given up to ``max_duration``."""
    table = getattr(model, "duration_prob_", None)
    if table is not None:
        return np.asarray(table)[:, ::-1].cumsum(1)[:, ::-1]
    stay = np.diag(np.asarray(model.transition_prob_))
    return stay[:, None] ** np.arange(max_duration)[None, :]
