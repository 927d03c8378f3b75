"""Sums whose bits do not depend on what else is in the batch.

Library reductions and matrix products choose their order of summation by shape and layout; these fold the axis in
halves with elementwise additions, so a slice of a batch gives the same bits as the slice alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def surely_all(true: Tensor) -> bool:
    """Whether all are true, as far as the host can tell at once: False where it would have to wait for a GPU."""
    return true.device.type == "cpu" and bool(true.all())


def surely_none(true: Tensor) -> bool:
    """Whether none is true, as far as the host can tell at once: False where it would have to wait for a GPU."""
    return true.device.type == "cpu" and not bool(true.any())


def cholesky(matrix: Tensor) -> Tensor:
    """The lower factor; of what has none NaN on a GPU, where the host need not wait to hear of it, else an error."""
    if matrix.device.type == "cpu":
        is_number = matrix.shape[-1] == 1 and bool((matrix > 0).all())  # LAPACK is slow with many small matrices
        return matrix.sqrt() if is_number else torch.linalg.cholesky(matrix)
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor.masked_fill((info != 0)[..., None, None], torch.nan)


def inverse_of_lower(factor: Tensor) -> Tensor:
    """The inverse of a lower triangular matrix."""
    if factor.shape[-1] == 1:
        return factor.reciprocal()
    unit = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, unit, upper=False)


def eigvalsh(matrix: Tensor) -> Tensor:
    """Eigenvalues, the least first."""
    return matrix[..., 0] if matrix.shape[-1] == 1 else torch.linalg.eigvalsh(matrix)


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """X of matrix X = right; where there is none an error, on a GPU what is not finite, and no wait for it."""
    if matrix.device.type == "cpu":
        return torch.linalg.solve(matrix, right)
    return torch.linalg.solve_ex(matrix, right).result


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, the least first, and eigenvectors as columns; on a GPU in closed form where there are two or fewer.

    The host waits for LAPACK's kin there.
    """
    size = matrix.shape[-1]
    if matrix.device.type == "cpu" or size > 2:
        return torch.linalg.eigh(matrix)
    if size == 1:
        return matrix[..., 0], torch.ones_like(matrix)
    one, other, both = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 1, 0]
    middle, half = 0.5 * (one + other), 0.5 * (one - other)
    reach, turn = torch.hypot(half, both), 0.5 * torch.atan2(both, half)
    along, across = turn.cos(), turn.sin()
    axes = torch.stack([-across, along, along, across], -1).unflatten(-1, (2, 2))
    return torch.stack([middle - reach, middle + reach], -1), axes


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
