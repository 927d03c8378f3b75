"""C++ on the CPU for tables that do not change with time; same names and results as ``reference``.

Sequences (restart, series) are worked on side by side in the lanes of vector registers, in scaled linear arithmetic.
Where that arithmetic may have lost probability, the sequence is computed again: float32 in float64, and float64 in log
space by ``reference``. A sequence's results have the same bits whatever else is in the batch and on how many threads.
"""

from hsmm.kernels.native.causal import elapsed, filtered, remaining
from hsmm.kernels.native.counts import expected_counts, log_partition
from hsmm.kernels.native.paths import viterbi
from hsmm.native.library import available
from hsmm.potentials import Potentials


def supports(p: Potentials) -> bool:
    """Whether the library is there and ``p`` is stationary, with one residual law for all series, on the CPU."""
    one_law = p.log_residual is None or p.log_residual.ndim == 3
    return p.is_stationary and one_law and p.log_emission.device.type == "cpu" and available()


__all__ = [
    "available",
    "elapsed",
    "expected_counts",
    "filtered",
    "log_partition",
    "remaining",
    "supports",
    "viterbi",
]
