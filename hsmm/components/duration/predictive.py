"""Durations to be expected of a segment to come, where few were seen."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.components.duration.base import DurationCounts, expected_log_likelihood
from hsmm.components.duration.parametric import Parametric
from hsmm.types import DurationTable

FORM_SPREAD = 2.0
"""Standard deviation of the prior on a law's second parameter, about 0: a negative binomial or gamma law is geometric
there, a log-normal one spreads by a factor of e."""

_PLACES, _FORMS = 61, 25
_REACH = 7.0  # half the width of the grid, in standard deviations of a parameter's estimate
_WIDEST = 4.0


def predictive_probability(law: Parametric, counts: DurationCounts, n_columns: int) -> DurationTable:
    """(1, K, n_columns) P(d = column) of the next segment given expected ``counts`` of one model, the last column
    P(d >= n_columns) where the law has a tail.

    The law is averaged over its parameters, weighed by prior and likelihood of the counts on a grid about the estimate:
    the first parameter, a place, has a flat prior, the second, a form, a normal one of :data:`FORM_SPREAD`.
    """
    grid = _grid(law, counts)
    seen = expected_log_likelihood(law.with_parameters(shape=grid).log_potentials(), counts, law.min_duration)
    prior = -0.5 * (grid[..., 1:] / FORM_SPREAD).square().sum(-1)
    weight = (seen + prior).softmax(0).unsqueeze(-1)
    wide = replace(law, max_duration=n_columns, parameters={"shape": grid})
    return (weight * wide.probability()).sum(0, keepdim=True)


def _grid(law: Parametric, counts: DurationCounts) -> Tensor:
    """(G, K, P) parameters about the estimate, the wider the fewer segments were seen."""
    shape = law.parameters["shape"][0]
    n_segments = counts.duration[0].sum(-1) + counts.residual[0].sum(-1)
    reach = (_REACH / (n_segments + 1.0).sqrt()).clamp(max=_WIDEST)
    places = shape[:, 0] + reach * torch.linspace(-1.0, 1.0, _PLACES, dtype=shape.dtype)[:, None]
    if shape.shape[-1] == 1:
        return law.within_bounds("shape", places.unsqueeze(-1))
    centre, wide = shape[:, 1].clamp(-3.0, 3.0 * FORM_SPREAD), (1.5 * reach).clamp(max=3.0 * FORM_SPREAD)
    forms = centre + wide * torch.linspace(-1.0, 1.0, _FORMS, dtype=shape.dtype)[:, None]
    pairs = torch.stack(torch.broadcast_tensors(places.unsqueeze(1), forms.unsqueeze(0)), -1)
    return law.within_bounds("shape", pairs.flatten(0, 1))
