"""Sums whose bits do not depend on what else is in the batch.

Library reductions and matrix products choose their order of summation by shape and layout; these fold the axis in
halves with elementwise additions, so a slice of a batch gives the same bits as the slice alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def ordered_sum(x: Tensor, dim: int = -1) -> Tensor:
    """Sum over ``dim``, folding it in halves."""
    x = x.movedim(dim, 0)
    if x.shape[0] == 0:
        return x.new_zeros(x.shape[1:])
    while (size := x.shape[0]) > 1:
        half = size // 2
        folded = x[:half] + x[half : 2 * half]
        x = torch.cat([folded, x[-1:]]) if size % 2 else folded
    return x[0]


def logsumexp(x: Tensor, dim: int = -1) -> Tensor:
    """log Σ exp over ``dim``; -inf where every term is."""
    peak = x.amax(dim, keepdim=True)
    peak = torch.where(peak.isneginf(), 0.0, peak)
    return ordered_sum((x - peak).exp(), dim).log() + peak.squeeze(dim)


def logaddexp(x: Tensor, y: Tensor) -> Tensor:
    """log(exp(x) + exp(y)); torch's own rounds strided and contiguous tensors differently."""
    larger = torch.maximum(x, y)
    smaller_over_larger = torch.where(larger.isneginf(), 0.0, (torch.minimum(x, y) - larger).exp())
    return larger + smaller_over_larger.log1p()


def log_vector_matrix(log_vector: Tensor, log_matrix: Tensor) -> Tensor:
    """log Σ_i exp(v_i + M_ij): (..., K), (..., K, K) → (..., K)."""
    return logsumexp(log_vector.unsqueeze(-1) + log_matrix, -2)


def log_matrix_vector(log_matrix: Tensor, log_vector: Tensor) -> Tensor:
    """log Σ_j exp(M_ij + v_j): (..., K, K), (..., K) → (..., K)."""
    return logsumexp(log_matrix + log_vector.unsqueeze(-2), -1)


def log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, accurate at both ends."""
    near_zero = x > -0.6931471805599453
    return torch.where(
        near_zero,
        (-torch.expm1(torch.where(near_zero, x, -1.0))).log(),
        torch.log1p(-torch.where(near_zero, -1.0, x).exp()),
    )


def log_survival(log_duration: Tensor) -> Tensor:
    """log P(d >= column), by summing the last axis from its end."""
    return log_duration.flip(-1).logcumsumexp(-1).flip(-1)
