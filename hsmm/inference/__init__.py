"""Exact answers of a semi-Markov model, as pure functions of its :class:`~hsmm.potentials.Potentials`."""

from hsmm.inference.engine import (
    causal,
    computable,
    elapsed,
    expected_counts,
    filter_state,
    filtered,
    log_density,
    log_partition,
    posterior,
    predicted,
    remaining,
    sample_paths,
    smoothed,
    viterbi,
)
from hsmm.inference.impossible import first_impossible, impossible_rows
from hsmm.inference.simulation import simulate_states
from hsmm.kernels.results import Causal, CausalName, Decoded, FilterState, Posterior

__all__ = [
    "Causal",
    "CausalName",
    "Decoded",
    "FilterState",
    "Posterior",
    "causal",
    "computable",
    "elapsed",
    "expected_counts",
    "filter_state",
    "filtered",
    "first_impossible",
    "impossible_rows",
    "log_density",
    "log_partition",
    "posterior",
    "predicted",
    "remaining",
    "sample_paths",
    "simulate_states",
    "smoothed",
    "viterbi",
]
