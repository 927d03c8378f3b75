"""What restarts are ranked by: their objective without what it owes to degenerate states; and what it may yet gain."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.objective import Objective

_ROUNDING = 1e-12
_SLOWEST = 0.8  # share of a gain that is expected of the next, at most
_MARGIN = 2.0  # logarithms of the number of rows
_MOST = 0.5


def margin(objective: Objective) -> float:
    """Nats that a single row may give a model, and by which one that owes its height to such rows must be better."""
    return _MARGIN * math.log(max(objective.n_observations, 2.0))


def sober_objective(model: Model, reached: Tensor, objective: Objective) -> Tensor:
    """(R,) the objective ``reached``, less what states gain by living on few distinct values.

    A model that owes something to them must be better by a margin besides, though not for wild rows, which a state has
    to hold. Those of other models stay; where a family cannot tell such a gain, a collapsed model stands below all.
    """
    sober, sequences = reached.clone(), objective.sequences
    if not model.emission.judges_spikes:
        hopeless = model.emission.collapsed(sequences).to(sober.device)
        sober = torch.where(hopeless, -torch.inf, sober)
    suspects = (model.emission.suspects(sequences).to(sober.device) & sober.isfinite()).nonzero().flatten()
    for restart in suspects.unsqueeze(1):
        alone = model.take(restart)
        here = objective.potentials(alone)
        weights = inference.expected_counts(here).state
        judged = replace(alone, emission=alone.emission.sobered(alone.beside(sequences), weights))
        there = objective.potentials(judged)
        height = objective.total(inference.log_partition(there)) + judged.log_prior()
        owes = height < reached[restart] - _ROUNDING * reached[restart].abs()
        gains = (weights * (here.log_emission - there.log_emission).clamp(min=0.0)).sum((0, 2)).nan_to_num(0.0)
        due = 0.0 if _are_wild(gains, sequences) else margin(objective)
        sober[restart] = torch.where(owes, height - due, reached[restart])
    return sober


def _are_wild(gains: Tensor, sequences: Sequences) -> bool:
    """Whether most of what is gained by row (N,) is by rows that lie far outside of nearly all others."""
    wild = (sequences.tamed.values != sequences.values).any(1)
    return bool(gains[wild].sum() > _MOST * gains.sum())


def prospect_of(history: Tensor, *, leapt: bool) -> Tensor:
    """(R,) what climbs with this history (T, R) may still gain, their gains falling on as they last fell.

    The last two gains of plain steps tell; of steps that ``leapt``, which gain by turns, those of the last two thirds.
    """
    climbed = history.mT
    last = (climbed.isfinite().sum(1) - 1).clamp(min=0)
    stride = last // 3 if leapt else torch.ones_like(last)
    one, two, three = (
        climbed.gather(1, (last - back * stride).clamp(min=0).unsqueeze(1)).squeeze(1) for back in (2, 1, 0)
    )
    early, late = two - one, three - two
    ratio = torch.where(early > 0, late / early.clamp(min=1e-300), 0.0).clamp(0.0, _SLOWEST)
    return (late * ratio / (1.0 - ratio)).nan_to_num(0.0, 0.0, 0.0).clamp(min=0.0)
