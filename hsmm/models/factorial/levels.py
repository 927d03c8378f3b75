"""Levels of chains from what is expected of their states."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.components.factorial.regression import regressed, residual
from hsmm.models.factorial.additive import Additive, Expected
from hsmm.sequences import Sequences


def with_levels(model: Additive, sequences: Sequences, expected: Expected, floor: Tensor) -> Additive:
    """The levels, base and noise that maximise the expected log-density, the variances at least ``floor`` (F,).

    The first state of each chain keeps its level, for the base takes up what all states of a chain share. Where states
    never differ in what they hold, levels stay as they were.
    """
    known = torch.cat([torch.ones(1, dtype=torch.bool), *(torch.arange(k) > 0 for k in model.n_states)])
    old = torch.cat([model.base.unsqueeze(1), *(chain.level for chain in model.chains)], 1).mT
    fixed = torch.where(known, 0.0, old)
    explained = (expected.gram @ fixed.unsqueeze(-1)).squeeze(-1)
    new = old.clone()
    own = expected.gram[..., known, :][..., known]
    new[..., known] = regressed(own, (expected.cross - explained)[..., known], old[..., known])
    square = sequences.values.square().where(sequences.observed, 0.0).sum(0)
    left = residual(square, expected.gram, expected.cross, new)
    variance = left / sequences.observed.sum(0).clamp(min=1)
    base, *levels = new.mT.split([1, *model.n_states], 1)
    chains = tuple(replace(chain, level=level) for chain, level in zip(model.chains, levels, strict=True))
    return replace(model, chains=chains, base=base.squeeze(1), variance=torch.maximum(variance, floor))
