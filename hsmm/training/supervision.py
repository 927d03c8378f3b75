"""States that are known of some rows."""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hsmm.training.starts import Starts


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
