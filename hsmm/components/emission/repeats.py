"""Tables of distinct rows spread over all rows, and the weights of all rows summed over those that are equal."""

from __future__ import annotations

from torch import Tensor


def spread(table: Tensor, of_row: Tensor | None, out: Tensor | None = None) -> Tensor:
    """(R, N, K) from a table (R, U, K) of distinct rows, written into ``out`` where it is given."""
    found = table if of_row is None else table.index_select(1, of_row)
    return found if out is None else out.copy_(found)


def gathered(weights: Tensor, of_row: Tensor | None, n_distinct: int) -> Tensor:
    """(R, U, K) sums of weights (R, N, K) over the rows that are equal."""
    if of_row is None:
        return weights
    sums = weights.new_zeros(weights.shape[0], n_distinct, weights.shape[2])
    return sums.index_add_(1, of_row, weights)
