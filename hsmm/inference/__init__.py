"""Exact answers of a semi-Markov model, as pure functions of its :class:`~hsmm.potentials.Potentials`."""

from hsmm.inference.engine import (
    elapsed,
    expected_counts,
    filter_pass,
    filtered,
    log_density,
    log_partition,
    posterior,
    remaining,
    sample_paths,
    viterbi,
)
from hsmm.inference.impossible import first_impossible, impossible_rows
from hsmm.inference.simulation import simulate_states
from hsmm.kernels.results import Decoded, Filtered, Posterior

__all__ = [
    "Decoded",
    "Filtered",
    "Posterior",
    "elapsed",
    "expected_counts",
    "filter_pass",
    "filtered",
    "first_impossible",
    "impossible_rows",
    "log_density",
    "log_partition",
    "posterior",
    "remaining",
    "sample_paths",
    "simulate_states",
    "viterbi",
]
