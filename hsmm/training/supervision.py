"""States that are known of some rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hsmm.sequences import Sequences
from hsmm.training.starts import Starts


def known_states(states: Any, sequences: Sequences, n_states: int) -> Tensor | None:
    """(N,) int64, -1 where unknown; None if nothing is known. Raises ``ValueError`` for anything else."""
    if states is None:
        return None
    found = np.asarray(states)
    if found.shape != (sequences.n_rows,) or found.dtype.kind not in "iu":
        raise ValueError(
            f"states has shape {found.shape} and dtype {found.dtype}; expected whole numbers ({sequences.n_rows},), "
            "one for each row of X, -1 where the state is unknown."
        )
    if found.min() < -1 or found.max() >= n_states:
        raise ValueError(
            f"states holds values from {found.min()} to {found.max()}; expected -1 (unknown) or 0 to {n_states - 1}."
        )
    return torch.from_numpy(found.astype(np.int64)) if (found >= 0).any() else None


def respecting(starts: Starts, states: Tensor) -> Starts:
    """The starts with the known ``states`` (N,), -1 where unknown, and their other labels numbered to agree with them.

    Each restart's rough states are renumbered so that they meet the known ones as often as possible.
    """
    states = states.cpu()
    known = states >= 0
    n_states = starts.mean_dwell.shape[1]
    labels = torch.stack([_agreeing(own, states, known, n_states)[own] for own in starts.labels])
    return replace(starts, labels=torch.where(known, states, labels))


def _agreeing(labels: Tensor, states: Tensor, known: Tensor, n_states: int) -> Tensor:
    """(K,) the state that each rough label is to mean."""
    pairs = labels[known] * n_states + states[known]
    table = torch.bincount(pairs, minlength=n_states**2).view(n_states, n_states)
    return torch.from_numpy(linear_sum_assignment(table.numpy(), maximize=True)[1])


def known_runs(states: list[int]) -> Iterator[tuple[int, int, int, bool]]:
    """Each run of one known state: which, its first row, how many rows, and whether other known states enclose it."""
    row = 0
    for state, run in groupby(states):
        n_rows = len(list(run))
        enclosed = row > 0 and row + n_rows < len(states) and min(states[row - 1], states[row + n_rows]) >= 0
        if state >= 0:
            yield state, row, n_rows, enclosed
        row += n_rows
