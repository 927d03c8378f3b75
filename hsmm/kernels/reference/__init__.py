"""The definition of correct: residual-time recursions in log space, in torch, on any device.

A state and the steps its segment has left, counting this one, form a Markov chain (Yu & Kobayashi 2003, IEEE
Signal Processing Letters 10). Derivation: docs/maths/inference.md.
"""

from hsmm.kernels.reference.causal import filter_state, filtered, remaining
from hsmm.kernels.reference.counts import expected_counts, log_partition
from hsmm.kernels.reference.sampling import sample_paths
from hsmm.kernels.reference.segments import elapsed, viterbi
from hsmm.kernels.reference.smoothing import smoothed
from hsmm.potentials import Potentials


def supports(p: Potentials) -> bool:  # noqa: ARG001 - every back end answers this question
    return True


__all__ = [
    "elapsed",
    "expected_counts",
    "filter_state",
    "filtered",
    "log_partition",
    "remaining",
    "sample_paths",
    "smoothed",
    "supports",
    "viterbi",
]
