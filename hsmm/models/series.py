"""Where series end, and how often each counts, as users say it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsmm.sequences import Sequences


def series_lengths(lengths: Any, groups: Any, X: Any, name: str = "groups") -> Any:
    """``lengths``, or those of the runs of equal ``groups`` (n_samples,), the name of the series of each row of X.

    Raises ``ValueError`` where both are given, and where the rows of a series do not stand together.
    """
    if groups is None:
        return lengths
    if lengths is not None:
        raise ValueError("lengths and groups are given; both say where series end, so leave one of them out.")
    found, n_rows = np.asarray(groups), len(X)
    if found.shape != (n_rows,):
        raise ValueError(f"{name} has shape {found.shape}; expected ({n_rows},), the series of each row of X.")
    starts = np.flatnonzero(np.r_[True, found[1:] != found[:-1]])
    names, n_runs = np.unique(found[starts], return_counts=True)
    if (n_runs > 1).any():
        torn = names[n_runs > 1].tolist()[0]
        rows = starts[found[starts] == names[n_runs > 1][0]][:2].tolist()
        raise ValueError(
            f"{name} holds {torn!r} from row {rows[0]} on, and again from row {rows[1]} on; rows of one series must "
            "stand together, in the order of time."
        )
    return np.diff(np.r_[starts, n_rows])


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
