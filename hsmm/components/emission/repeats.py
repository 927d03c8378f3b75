"""Tables of distinct rows spread over all rows, weights added up by them, and tables linear in a few numbers.

In C++ on the CPU where nobody asks for derivatives, else in torch; the same results.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from hsmm.native.interface import Gathered, Linear, Shape, Spread
from hsmm.native.library import available, call


def spread(table: Tensor, of_row: Tensor | None, out: Tensor | None = None, *, adds: bool = False) -> Tensor:
    """(R, N, K) from a table (R, U, K) of distinct rows, written into ``out``, or added to it, where it is given.

    ``out`` is contiguous.
    """
    if of_row is None or not _is_native(table, of_row, *(() if out is None else (out,))):
        found = table if of_row is None else table.index_select(1, of_row)
        if out is None:
            return found
        return out.copy_(found) if not adds else out + found if out.requires_grad else out.add_(found)
    table, (r, u, k) = table.contiguous(), table.shape
    out = table.new_empty(r, len(of_row), k) if out is None else out
    job = Spread(table.data_ptr(), of_row.data_ptr(), out.data_ptr(), adds)
    call("hsmm_spread", _shape(r, len(of_row), k, u), job)
    return out


def gathered(weights: Tensor, of_row: Tensor | None, n_distinct: int) -> Tensor:
    """(R, U, K) sums of weights (R, N, K) over the rows that are equal."""
    if of_row is None:
        return weights
    r, n, k = weights.shape
    sums = weights.new_zeros(r, n_distinct, k)
    if not _is_native(weights, of_row):
        return sums.index_add_(1, of_row, weights)
    weights = weights.contiguous()
    call("hsmm_gathered", _shape(r, n, k, n_distinct), Gathered(weights.data_ptr(), of_row.data_ptr(), sums.data_ptr()))
    return sums


def linear(constant: Tensor, slopes: list[Tensor], numbers: list[Tensor]) -> Tensor:
    """(R, N, K) constant + Σ slope · number, of (R, K) constant and slopes and the rows' numbers (N,)."""
    if _is_native(constant, *slopes, *numbers):
        coefficients, table = torch.stack([constant, *slopes], -1).contiguous(), torch.stack(numbers)
        out = constant.new_empty(constant.shape[0], table.shape[1], constant.shape[1])
        job = Linear(coefficients.data_ptr(), table.data_ptr(), out.data_ptr())
        n_restarts, n_rows, n_states = out.shape
        call("hsmm_linear", _shape(n_restarts, n_rows, n_states, len(numbers)), job)
        return out
    total = constant.unsqueeze(1)
    for slope, number in zip(slopes, numbers, strict=True):
        total = total + slope.unsqueeze(1) * number[:, None]
    return total


def _is_native(*tensors: Tensor) -> bool:
    return available() and not any(x.requires_grad or x.device.type != "cpu" for x in tensors)


def _shape(n_restarts: int, n_rows: int, n_states: int, n_distinct: int) -> ctypes.Structure:
    return Shape(n_restarts, n_rows, n_states, n_distinct, torch.get_num_threads())
