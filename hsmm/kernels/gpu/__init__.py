"""CUDA C++ for NVIDIA GPUs, compiled at run time; same names and results as ``reference``.

Log-likelihoods, expected counts and the most probable segments, where the tables are stationary and a sequence's ring
fits the registers of a warp (:mod:`hsmm.kernels.gpu.plans`). Sums run in scaled linear arithmetic; where that may have
lost probability the sequence is computed again on the device, float32 in float64 and float64 in log space. A
sequence's results have the same bits whatever else is in the batch. What no kernel covers is the reference's, on the
same device. The same source, built by g++, computes the same on a CPU: that is how it is tested where there is no GPU.
"""

from hsmm.kernels.gpu.counts import expected_counts, log_partition
from hsmm.kernels.gpu.inputs import plan_of
from hsmm.kernels.gpu.launch import complaint
from hsmm.kernels.gpu.paths import viterbi
from hsmm.kernels.protocol import Query
from hsmm.kernels.reference import causal, sample_paths, smoothed
from hsmm.potentials import Potentials

_QUERIES = ("log_partition", "expected_counts", "viterbi")


def supports(p: Potentials, query: Query) -> bool:
    """Whether ``p`` is on a GPU that the kernels can use, and has a plan for this query."""
    if p.owners is not None or p.log_emission.device.type != "cuda" or query not in _QUERIES or complaint() is not None:
        return False
    return plan_of(p, paths=query == "viterbi") is not None


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
