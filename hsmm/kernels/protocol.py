"""What every back end is: the same functions, with the same names of arguments and the same results."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from hsmm.kernels.results import Causal, CausalName, Decoded, FilterState, Posterior
from hsmm.potentials import Potentials
from hsmm.types import PerSeries, StateSeries

Query: TypeAlias = Literal["log_partition", "expected_counts", "causal", "smoothed", "viterbi", "sample_paths"]


class Kernel(Protocol):
    """Exact recursions over :class:`~hsmm.potentials.Potentials`: a module, or an object."""

    def supports(self, p: Potentials, query: Query) -> bool:
        """Whether it can answer, where it runs and for such tables."""
        ...

    def log_partition(self, p: Potentials) -> PerSeries: ...

    def expected_counts(self, p: Potentials, series_weight: PerSeries | None = None) -> Posterior:
        """Each series counts ``series_weight`` (R, S) times."""
        ...

    def causal(self, p: Potentials, want: Collection[CausalName], after: FilterState | None = None) -> Causal:
        """Fields named in ``want``, of one forward pass; ``after`` is the state that the rows go on from.

        A field has the same bits whatever else is wanted.
        """
        ...

    def smoothed(self, p: Potentials, lag: int) -> StateSeries: ...

    def viterbi(self, p: Potentials) -> Decoded: ...

    def sample_paths(self, p: Potentials, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, R, N)"""
        ...
