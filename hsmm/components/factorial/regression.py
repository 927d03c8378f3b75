"""Levels as a regression on states that are known in expectation."""

from __future__ import annotations

import torch
from torch import Tensor

_RANK = 1e-9


def regressed(gram: Tensor, cross: Tensor, old: Tensor) -> Tensor:
    """(R, F, P) coefficients that minimise the expected squares, from sums of φφᵀ (R, F, P, P) and φy (R, F, P).

    Where the data do not tell them apart they stay as the ``old`` ones were.
    """
    gap = cross - (gram @ old.unsqueeze(-1)).squeeze(-1)
    return old + (torch.linalg.pinv(gram, rtol=_RANK, hermitian=True) @ gap.unsqueeze(-1)).squeeze(-1)


def residual(square: Tensor, gram: Tensor, cross: Tensor, values: Tensor) -> Tensor:
    """(R, F) the sum of squares that is left of ``square`` (R, F) or (F,) by these coefficients (R, F, P)."""
    fitted = (values.unsqueeze(-2) @ gram @ values.unsqueeze(-1)).flatten(-3)
    return (square - 2.0 * (values * cross).sum(-1) + fitted).clamp(min=0.0)
