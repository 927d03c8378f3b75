"""Durations to be expected of a segment to come, where few were seen."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.components.duration.base import DurationCounts, expected_log_likelihood
from hsmm.components.duration.parametric import Parametric
from hsmm.types import DurationTable, StateVector

_ALL_FORMS = 3.0  # standard deviations of a form's prior
_PLACES, _FORMS = 31, 17
_CROWDED = 3.0
_REACH = 7.0  # half the width of the grid, in standard deviations of a parameter's estimate
_WIDEST = 4.0
_FORM_REACH = 0.75  # times that of a place, where both are of the size of one


def predictive_probability(law: Parametric, n_segments: StateVector, n_columns: int) -> DurationTable:
    """(1, K, n_columns) P(d = column) of the next segment, the last column P(d >= n_columns) where the law has a tail.

    The law is averaged over its parameters, weighed by prior and likelihood on a grid about the estimate: the first
    parameter, a place, has a flat prior, the second, a form, a normal one about 0 of the law's ``form_spread``. The
    likelihood is that of ``n_segments`` (1, K) segments spread as the fitted law says.
    """
    counts = _expected(law, n_segments)
    grid, volume = _grid(law, n_segments[0])
    seen = expected_log_likelihood(law.with_parameters(shape=grid).log_potentials(), counts, law.min_duration)
    prior = -0.5 * (grid[..., 1:] / law.form_spread).square().sum(-1)
    weight = (seen + prior + volume).softmax(0).unsqueeze(-1)
    wide = replace(law, max_duration=n_columns, parameters={"shape": grid})
    return (weight * wide.probability()).sum(0, keepdim=True)


def _expected(law: Parametric, n_segments: StateVector) -> DurationCounts:
    """So many segments of the law itself, those in its tail with the further steps that they take there."""
    tables = law.log_potentials()
    duration = n_segments.unsqueeze(-1) * tables.log_duration.exp()
    stay, leave = torch.zeros_like(n_segments), torch.zeros_like(n_segments)
    if tables.log_tail is not None:
        leave = duration[..., -1]
        stay = leave / torch.expm1(-tables.log_tail)
    return DurationCounts(duration, torch.zeros_like(duration), stay, leave)


def _grid(law: Parametric, n_segments: Tensor) -> tuple[Tensor, Tensor]:
    """(G, K, P) parameters about the estimate, the farther the fewer segments were seen, places closer to it closer
    together; and (G, 1) the logarithm of what each stands for."""
    shape = law.parameters["shape"][0]
    reach = (_REACH / (n_segments + 1.0).sqrt()).clamp(max=_WIDEST)
    even = _CROWDED * torch.linspace(-1.0, 1.0, _PLACES, dtype=shape.dtype)
    places = shape[:, 0] + reach * (even.sinh() / even[-1].sinh())[:, None]
    volume = even.cosh().log()
    if shape.shape[-1] == 1:
        return law.within_bounds("shape", places.unsqueeze(-1)), volume.unsqueeze(-1)
    widest, form = _ALL_FORMS * law.form_spread, shape[:, 1]
    beyond = form.abs() > widest
    wide = (_FORM_REACH * law.form_spread * reach).clamp(max=widest).masked_fill(beyond, widest)
    centre = form.masked_fill(beyond, 0.0)
    forms = centre + wide * torch.linspace(-1.0, 1.0, _FORMS, dtype=shape.dtype)[:, None]
    pairs = torch.stack(torch.broadcast_tensors(places.unsqueeze(1), forms.unsqueeze(0)), -1)
    return law.within_bounds("shape", pairs.flatten(0, 1)), volume.repeat_interleave(_FORMS).unsqueeze(-1)
