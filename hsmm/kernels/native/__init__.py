"""C++ on the CPU; same names and results as ``reference``.

Sums run in scaled linear arithmetic, sequences (restart, series) side by side in the lanes of vector registers. Where
that may have lost probability the sequence is computed again, float32 in float64 and float64 in log space. What is
causal and what is sampled is computed in log space from the start. A sequence's results have the same bits whatever
else is in the batch and on how many threads.
"""

from hsmm.kernels.native.causal import causal, smoothed
from hsmm.kernels.native.counts import expected_counts, log_partition
from hsmm.kernels.native.paths import sample_paths, viterbi
from hsmm.kernels.protocol import Query
from hsmm.native.library import available
from hsmm.potentials import Potentials

_OF_OWNERS = ("log_partition", "expected_counts")


def supports(p: Potentials, query: Query) -> bool:
    """Whether the library is there and ``p`` is on the CPU; where series have owners, it sums only."""
    return p.log_emission.device.type == "cpu" and available() and (p.owners is None or query in _OF_OWNERS)


__all__ = [
    "available",
    "causal",
    "expected_counts",
    "log_partition",
    "sample_paths",
    "smoothed",
    "supports",
    "viterbi",
]
