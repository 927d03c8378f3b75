"""What the forward pass alone knows: filtered states, densities, steps left; and how to go on after the last row."""

from __future__ import annotations

import torch

from hsmm.kernels.reference.chain import Chain
from hsmm.kernels.reference.segments import open_segments
from hsmm.kernels.results import Filtered, FilterState
from hsmm.numerics import log_vector_matrix, ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import DurationSeries


def filtered(p: Potentials, after: FilterState | None = None) -> Filtered:
    state = p.log_emission.new_empty(p.log_emission.shape)
    log_density = p.log_emission.new_empty(p.log_emission.shape[:2])
    for step in Chain(p, after).forward():
        state[:, step.rows] = ordered_sum(step.filtered.exp())
        log_density[:, step.rows] = step.log_density
    return Filtered(state, log_density)


def remaining(p: Potentials, after: FilterState | None = None) -> DurationSeries:
    result = p.log_emission.new_empty(p.n_restarts, p.n_rows, p.n_durations)
    for step in Chain(p, after).forward():
        result[:, step.rows] = ordered_sum(step.filtered.exp(), 2)
    return result


def filter_state(p: Potentials, after: FilterState | None = None) -> FilterState:
    shape = (p.n_restarts, p.n_series, p.n_states)
    starting = torch.empty(shape, dtype=torch.float64, device=p.log_emission.device)
    steps_left, by_age = (starting.new_empty(*shape, p.n_durations) for _ in range(2))
    for step, segments in open_segments(p, after):
        chain = segments.chain
        last = slice(chain.active(step.t + 1), len(step.rows))
        series = chain.order[last]
        transition = chain.transition_into(step.rows + 1)[:, last if p.log_transition.ndim == 4 else slice(None)]
        starting[:, series] = log_vector_matrix(step.ended[:, last], transition).double()
        steps_left[:, series] = step.filtered[:, last].double()
        by_age[:, series] = segments.by_age[:, last].double()
    return FilterState(starting, steps_left, by_age, p.lengths if after is None else after.n_rows + p.lengths)
