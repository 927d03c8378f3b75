"""When a state, or a duration law, is not what it seems: measured here for warnings, rankings and gates alike."""

from __future__ import annotations

import torch

from hsmm import inference
from hsmm.components.duration.parametric import Parametric
from hsmm.components.duration.reach import Beyond, beyond
from hsmm.components.model import Model
from hsmm.sequences import Sequences

DEAD_SHARE = 0.01
"""A state expected to hold a smaller share of the rows than this is dead."""
WALL_SHARE = 0.01
"""Durations of which more than this share is expected at the longest allowed press against a wall."""


def state_shares(model: Model, sequences: Sequences) -> torch.Tensor:
    """(K,) share of the rows that each state of the first model is expected to hold."""
    return inference.posterior(model.potentials(sequences)).state[0].mean(0)


def wall_share(model: Model, sequences: Sequences) -> float:
    """Share of the first model's expected segments that last as long as is allowed; 0 where durations go on."""
    duration = model.duration
    if duration is None or duration.has_tail or model.transition.n_states == 1:
        return 0.0
    counts = inference.posterior(model.potentials(sequences)).duration[0]
    return (counts[:, -1].sum() / counts.sum()).item()


def strained_tail(model: Model, sequences: Sequences) -> tuple[int, Beyond] | None:
    """The state with the most segments in a tail that its law does not have; None where no tail is strained so.

    Of the first model's states, those that are not dead, and whose law itself would end segments beyond
    ``max_duration`` otherwise than its geometric tail does.
    """
    duration = model.duration
    if not isinstance(duration, Parametric) or not duration.has_tail or model.transition.n_states == 1:
        return None
    found = beyond(duration)
    share = torch.where(found.is_even, 0.0, found.mass)[0]
    if not bool((share > WALL_SHARE).any()):
        return None
    share = torch.where(state_shares(model, sequences) >= DEAD_SHARE, share, 0.0)
    state = int(share.argmax())
    return (state, found) if float(share[state]) > WALL_SHARE else None
