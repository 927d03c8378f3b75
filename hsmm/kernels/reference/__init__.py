"""The definition of correct: residual-time recursions in log space, in torch, on any device.

A state and the steps its segment has left, counting this one, form a Markov chain (Yu & Kobayashi 2003, IEEE
Signal Processing Letters 10). Derivation: docs/maths/inference.md.
"""

from hsmm.kernels.reference.causal import filtered, remaining
from hsmm.kernels.reference.counts import expected_counts, log_partition
from hsmm.kernels.reference.sampling import sample_paths
from hsmm.kernels.reference.segments import elapsed, viterbi
from hsmm.potentials import Potentials


def supports(p: Potentials) -> bool:  # noqa: ARG001 - every back end answers this question
    return True


__all__ = [
    "elapsed",
    "expected_counts",
    "filtered",
    "log_partition",
    "remaining",
    "sample_paths",
    "supports",
    "viterbi",
]
