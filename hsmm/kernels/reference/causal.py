"""What the forward pass alone knows: filtered states, densities, steps left."""

from __future__ import annotations

from hsmm.kernels.reference.chain import Chain
from hsmm.kernels.results import Filtered
from hsmm.numerics import ordered_sum
from hsmm.potentials import Potentials
from hsmm.types import DurationSeries


def filtered(p: Potentials) -> Filtered:
    state = p.log_emission.new_empty(p.log_emission.shape)
    log_density = p.log_emission.new_empty(p.log_emission.shape[:2])
    for step in Chain(p).forward():
        state[:, step.rows] = ordered_sum(step.filtered.exp())
        log_density[:, step.rows] = step.log_density
    return Filtered(state, log_density)


def remaining(p: Potentials) -> DurationSeries:
    result = p.log_emission.new_empty(p.n_restarts, p.n_rows, p.n_durations)
    for step in Chain(p).forward():
        result[:, step.rows] = ordered_sum(step.filtered.exp(), 2)
    return result
