"""CUDA C++ for NVIDIA GPUs, compiled at run time; same names and results as ``reference``.

Log-likelihoods, expected counts and the most probable segments of stationary tables, where a sequence's ring fits the
registers of a warp, are computed in scaled linear arithmetic or, for maxima, relative to a base
(:mod:`hsmm.kernels.gpu.plans`). Where that may have lost probability the sequence is computed again on the device,
float32 in float64 and float64 in log space. All else, and tables of any size, by row or not, a team of threads for each
sequence computes in log space (:mod:`hsmm.kernels.gpu.teams`). A sequence's results have the same bits whatever else is
in the batch. The same source, built by g++, computes the same on a CPU: that is how it is tested where there is no GPU.
"""

from hsmm.kernels.gpu.causal import causal, smoothed
from hsmm.kernels.gpu.counts import expected_counts, log_partition
from hsmm.kernels.gpu.launch import complaint
from hsmm.kernels.gpu.paths import sample_paths, viterbi
from hsmm.kernels.protocol import Query
from hsmm.potentials import Potentials

_OF_OWNERS = ("log_partition", "expected_counts")


def supports(p: Potentials, query: Query) -> bool:
    """Whether ``p`` is on a GPU that the kernels can use; where series have owners, they sum only."""
    is_there = p.log_emission.device.type == "cuda" and (p.owners is None or query in _OF_OWNERS)
    return is_there and complaint() is None


__all__ = [
    "causal",
    "complaint",
    "expected_counts",
    "log_partition",
    "sample_paths",
    "smoothed",
    "supports",
    "viterbi",
]
