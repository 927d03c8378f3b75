"""What a user knows beside the data: states of some rows, and how often each series counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsmm.sequences import Sequences


def known_states(states: Any, sequences: Sequences, n_states: int) -> Tensor | None:
    """(N,) int64, -1 where unknown; None if nothing is known. Raises ``ValueError`` for anything else."""
    if states is None:
        return None
    found = np.asarray(states)
    if found.shape != (sequences.n_rows,) or found.dtype.kind not in "iu":
        raise ValueError(
            f"states has shape {found.shape} and dtype {found.dtype}; expected whole numbers ({sequences.n_rows},), "
            "one for each row of X, -1 where the state is unknown."
        )
    if found.min() < -1 or found.max() >= n_states:
        raise ValueError(
            f"states holds values from {found.min()} to {found.max()}; expected -1 (unknown) or 0 to {n_states - 1}."
        )
    return torch.from_numpy(found.astype(np.int64)) if (found >= 0).any() else None


def series_weight(sample_weight: Any, sequences: Sequences) -> Tensor | None:
    """(S,) float64 >= 0 from one weight for each series, or for each row if it is constant within a series."""
    if sample_weight is None:
        return None
    try:
        found = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("sample_weight holds values that are not numbers.") from None
    if found.shape == (sequences.n_rows,) and sequences.n_rows != sequences.n_series:
        starts = sequences.offsets[:-1].numpy()
        of_series = found[starts]
        if not np.array_equal(np.repeat(of_series, sequences.lengths.numpy()), found):
            raise ValueError(
                "sample_weight changes within a series; rows of one series depend on each other and must count "
                "equally, so give one weight for each series."
            )
        found = of_series
    if found.shape != (sequences.n_series,):
        raise ValueError(
            f"sample_weight has shape {found.shape}; expected ({sequences.n_series},), one for each series, or "
            f"({sequences.n_rows},), one for each row."
        )
    if not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ValueError("sample_weight must be finite numbers >= 0, one of them positive.")
    return torch.from_numpy(found.copy())
