"""Models with the durations to be expected of stays to come, given how few were seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsmm.components.duration import Categorical, Geometric
from hsmm.components.duration.parametric import Parametric
from hsmm.components.duration.predictive import predictive_probability
from hsmm.components.model import Model
from hsmm.errors import NotFittedError
from hsmm.kernels.results import Posterior
from hsmm.sequences import Sequences

ENOUGH = 15.0
"""Stays of a state that were seen to end, from which on a fitted law holds as often as it says."""

_WIDER = 4  # times as long is the table of durations to be expected
_STAYS, _SHORTEST, _LONGEST = 5, 100, 500  # mean stays that a table for an HMM holds, within these bounds


def exits(model: Model, known: Posterior, sequences: Sequences) -> np.ndarray:
    """(K,) how often each state was seen to be left; one that its series cuts off was not, if such are told apart."""
    moves = known.transition[0]
    left = moves.sum(1) - moves.diagonal()
    if model.duration is not None and not model.right_censored:
        left = left + known.state[0, sequences.offsets[1:] - 1].sum(0)
    return left.numpy()


def seen_exits(remembered: np.ndarray | None, counted: Callable[[], np.ndarray] | None) -> Tensor:
    """(1, K) those counted in given rows, or those remembered of the fit. Raises ``NotFittedError`` without either."""
    if counted is None and remembered is None:
        raise NotFittedError(
            "this model does not know how often its states were left, as one that was made with known parameters; give "
            "the rows in which they were: with_predictive_durations(X, lengths)."
        )
    return torch.from_numpy(remembered if counted is None else counted()).unsqueeze(0)


def expected_durations(law: Parametric, n_segments: Tensor) -> Categorical:
    """The law averaged over the parameters that (1, K) segments allow, in a table longer than its own."""
    n_columns = _WIDER * law.max_duration if law.has_tail else law.max_duration
    table = predictive_probability(law, n_segments, n_columns)
    return Categorical(max_duration=n_columns, min_duration=law.min_duration, parameters={"probability": table})


def geometric_of(stay: np.ndarray) -> Geometric:
    """The durations of states that are stayed in with probabilities (K,)."""
    mean = 1.0 / np.clip(1.0 - stay, 1.0 / _LONGEST, 1.0)
    law = Geometric(max_duration=int(np.clip(np.ceil(_STAYS * mean.max()), _SHORTEST, _LONGEST)))
    with np.errstate(divide="ignore"):
        shape = torch.from_numpy(np.log(-np.log(stay))).view(1, -1, 1)
    return law.with_parameters(shape=law.within_bounds("shape", shape))


def moves_of(transition: np.ndarray) -> np.ndarray:
    """(K, K) where a chain goes when it goes; a state that is never left stays."""
    moves: Any = transition * (1.0 - np.eye(len(transition)))
    total = moves.sum(1, keepdims=True)
    return np.where(total > 0, moves / np.where(total > 0, total, 1.0), np.eye(len(transition)))
