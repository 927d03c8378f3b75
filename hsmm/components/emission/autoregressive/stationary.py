"""What an autoregression tends to if it goes on."""

from __future__ import annotations

import torch
from torch import Tensor

_HALVINGS = 60
_LONGEST = 1.0 - 1e-9  # of an eigenvalue: beyond, a law takes longer to settle than any series lasts


def stationary_moments(constant: Tensor, slopes: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """(…, F) mean and standard deviation of y = constant + slopes · (the L rows before) + noise, NaN where it has none.

    ``constant`` (…, F), ``slopes`` (…, F, L · F) the latest row first, ``covariance`` (…, F, F) of the noise. The
    covariance sums Cᵗ Q Cᵗᵀ over the companion matrix C, doubling the number of terms (Anderson & Moore 1979).
    """
    f, size = slopes.shape[-2:]
    companion = slopes.new_zeros(*slopes.shape[:-2], size, size)
    companion[..., :f, :] = slopes
    companion[..., torch.arange(f, size), torch.arange(size - f)] = 1.0
    radius = torch.linalg.eigvals(companion).abs().amax(-1)
    settles = (radius < _LONGEST)[..., None]
    power = torch.where(settles.unsqueeze(-1), companion, 0.0)
    total = slopes.new_zeros(companion.shape)
    total[..., :f, :f] = covariance
    for _ in range(_HALVINGS):
        total = total + power @ total @ power.mT
        power = power @ power
    unit = torch.eye(f, dtype=slopes.dtype, device=slopes.device)
    pull = unit - slopes.unflatten(-1, (size // f, f)).sum(-2)
    mean = torch.linalg.solve(torch.where(settles.unsqueeze(-1), pull, unit), constant.unsqueeze(-1)).squeeze(-1)
    deviation = total[..., :f, :f].diagonal(dim1=-2, dim2=-1).sqrt()
    return torch.where(settles, mean, torch.nan), torch.where(settles, deviation, torch.nan)
