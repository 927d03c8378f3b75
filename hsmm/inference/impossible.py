"""Where data that cannot be under a model become impossible."""

from __future__ import annotations

import torch
from torch import Tensor

from hsmm.inference.engine import log_density, log_partition
from hsmm.potentials import Potentials


def impossible_rows(p: Potentials) -> Tensor:
    """(R, S) int64: the row of each series, counted from its start, at which it becomes impossible; -1 if it does not.

    That is the first row whose density given those before it is zero, or the last row if a segment may not end there.
    """
    impossible = log_partition(p.detach()).isneginf()
    rows = torch.full(impossible.shape, -1, dtype=torch.int64, device=impossible.device)
    if not bool(impossible.any()):
        return rows
    possible_rows = torch.zeros_like(rows).index_add_(1, p.series_of_row, log_density(p).isfinite().long())
    return torch.where(impossible, torch.minimum(possible_rows, p.lengths - 1), rows)


def first_impossible(p: Potentials) -> tuple[int, int, int] | None:
    """(restart, series, row within the series) of the first impossible series; None if every series is possible."""
    rows = impossible_rows(p)
    found = (rows >= 0).nonzero()
    if not len(found):
        return None
    restart, series = found[0].tolist()
    return restart, series, int(rows[restart, series])
