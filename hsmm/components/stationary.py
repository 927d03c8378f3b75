"""The law that a chain of states has at a moment picked at random."""

from __future__ import annotations

import torch

from hsmm.types import StateMatrix, StateVector

RESTART = 1e-20
"""Probability a step of starting anew in a state picked at random: it decides where a chain does not."""


def stationary_law(transition: StateMatrix) -> StateVector:
    """π = π A for the rows A (R, K, K), differentiable; (R, K), all positive.

    States are taken away one by one (Grassmann, Taksar & Heyman 1985): nothing is subtracted, so rare states keep their
    digits. Every move has ``RESTART`` / K added: of a chain with several closed classes the law is then the one that it
    has in the long run when it begins anywhere with equal probability, and transient states have almost none.
    """
    n_states = transition.shape[-1]
    left, entries = transition + RESTART / n_states, []
    for last in range(n_states - 1, 0, -1):
        out = left[:, last, :last]
        entry = left[:, :last, last] / out.sum(-1, keepdim=True)
        entries.append(entry)
        left = left[:, :last, :last] + entry.unsqueeze(-1) * out.unsqueeze(-2)
    law = transition.new_ones(len(transition), 1)
    for entry in reversed(entries):
        law = torch.cat([law, (law * entry).sum(-1, keepdim=True)], -1)
        law = law / law.sum(-1, keepdim=True)
    return law


def share_of_time(segments: StateVector, mean_duration: StateVector, transition: StateMatrix) -> StateVector:
    """(R, K) share of time in each state, of segments that have this law and these mean durations (R, K).

    A state that ``transition`` (R, K, K) never leaves has no duration: each of its steps is a segment.
    """
    absorbing = transition.diagonal(dim1=-2, dim2=-1) == 1.0
    weight = segments * torch.where(absorbing, 1.0, mean_duration)
    return weight / weight.sum(-1, keepdim=True)
