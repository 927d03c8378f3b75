"""Levels as a regression on states that are known in expectation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.models.factorial.additive import Additive, Expected
from hsmm.sequences import Sequences

_RANK = 1e-9


def with_levels(model: Additive, sequences: Sequences, expected: Expected, floor: Tensor) -> Additive:
    """The levels, base and noise that maximise the expected log-density, the variances at least ``floor`` (F,).

    The first state of each chain keeps its level, for the base takes up what all states of a chain share. Where states
    never differ in what they hold, levels stay as they were.
    """
    known = torch.cat([torch.ones(1, dtype=torch.bool), *(torch.arange(k) > 0 for k in model.n_states)])
    old = torch.cat([model.base.unsqueeze(1), *(chain.level for chain in model.chains)], 1).mT
    gap = expected.cross - (expected.gram @ old.unsqueeze(-1)).squeeze(-1)
    learnt = expected.gram[..., known, :][..., known]
    step = torch.linalg.pinv(learnt, rtol=_RANK, hermitian=True) @ gap[..., known, None]
    new = old.clone()
    new[..., known] += step.squeeze(-1)
    variance = residual(sequences, expected, new) / sequences.observed.sum(0).clamp(min=1)
    base, *levels = new.mT.split([1, *model.n_states], 1)
    chains = tuple(replace(chain, level=level) for chain, level in zip(model.chains, levels, strict=True))
    return replace(model, chains=chains, base=base.squeeze(1), variance=torch.maximum(variance, floor))


def residual(sequences: Sequences, expected: Expected, values: Tensor) -> Tensor:
    """(R, F) expected sum of squares that is left by these ``values`` (R, F, P) of base and levels."""
    square = sequences.values.square().where(sequences.observed, 0.0).sum(0)
    fitted = (values.unsqueeze(-2) @ expected.gram @ values.unsqueeze(-1)).flatten(-3)
    return (square - 2.0 * (values * expected.cross).sum(-1) + fitted).clamp(min=0.0)
