"""The definition of correct: residual-time recursions in log space, in torch, on any device.

A state and the steps its segment has left, counting this one, form a Markov chain (Yu & Kobayashi 2003, IEEE
Signal Processing Letters 10). Derivation: docs/maths/inference.md.
"""

from hsmm.kernels.protocol import Query
from hsmm.kernels.reference.causal import causal
from hsmm.kernels.reference.counts import expected_counts, log_partition
from hsmm.kernels.reference.sampling import sample_paths
from hsmm.kernels.reference.segments import viterbi
from hsmm.kernels.reference.smoothing import smoothed
from hsmm.potentials import Potentials


def supports(p: Potentials, query: Query) -> bool:  # noqa: ARG001 - every back end answers this question
    """Whether every series is of every model."""
    return p.owners is None


__all__ = ["causal", "expected_counts", "log_partition", "sample_paths", "smoothed", "supports", "viterbi"]
