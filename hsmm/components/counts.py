"""Log-densities of counts whose digits do not depend on how large the counts are.

Sums of lgamma cancel: of counts near 1e12 three digits are left. Saddle points do not (Loader 2000): what remains of
Stirling's formula, and how far a count lies from its expectation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_LARGE = 20.0
_NEAR = 0.5
_HUGE = 1e150


def log_poisson(y: Tensor, mean: Tensor, log_mean: Tensor) -> Tensor:
    """log p(y) of whole numbers >= 0; ``log_mean`` is exact where ``mean`` underflows, -inf where there is none."""
    some = y > 0
    count = torch.where(some, y, 1.0)
    return torch.where(some, -_peak(count) - poisson_excess(count, mean, log_mean), -mean)


def poisson_excess(y: Tensor, mean: Tensor, log_mean: Tensor) -> Tensor:
    """y log(y / mean) + mean - y for y > 0."""
    return _excess(y, mean, y - mean, mean, y.log() - log_mean)


def log_negative_binomial(y: Tensor, mean: Tensor, log_mean: Tensor, size: Tensor) -> Tensor:
    """log p(y) of whole numbers >= 0 whose variance is mean + mean² / size; ``log_mean`` as in :func:`log_poisson`."""
    some = y > 0
    count = torch.where(some, y, 1.0)
    mean, log_mean = mean.clamp(max=_HUGE), log_mean.clamp(max=math.log(_HUGE))
    total, both, gap = size + count, size + mean, count - mean
    shift = -gap / total
    close = shift > -_NEAR
    grown = torch.where(close, torch.log1p(torch.where(close, shift, 0.0)), both.log() - total.log())
    ended = _excess(size, size * total / both, -gap, total, grown)
    counted = _excess(count, mean * total / both, size * gap, mean * total, count.log() - log_mean + grown)
    peak = _stirling_error(total) - _stirling_error(size) - _peak(count) + 0.5 * (size.log() - total.log())
    return torch.where(some, peak - ended - counted, -size * torch.log1p(mean / size))


def log_rising(size: Tensor, y: Tensor) -> Tensor:
    """lgamma(size + y) - lgamma(size) - y log(size), without cancellation where ``size`` is large."""
    large = size > _LARGE
    near, far = torch.where(large, _LARGE, size), torch.where(large, size, _LARGE)
    direct = torch.lgamma(near + y) - torch.lgamma(near) - y * near.log()
    stirling = (far + y - 0.5) * torch.log1p(y / far) - y + _series(far + y) - _series(far)
    return torch.where(large, stirling, direct)


def log_gamma_constant(a: Tensor) -> Tensor:
    """a log(a) - a - lgamma(a)."""
    large = a > _LARGE
    near, far = torch.where(large, _LARGE, a), torch.where(large, a, _LARGE)
    direct = near * near.log() - near - torch.lgamma(near)
    return torch.where(large, 0.5 * far.log() - _HALF_LOG_2PI - _series(far), direct)


def _peak(y: Tensor) -> Tensor:
    """-log p(y) of a Poisson law whose mean is y > 0."""
    return _stirling_error(y) + 0.5 * y.log() + _HALF_LOG_2PI


def _excess(x: Tensor, mean: Tensor, gap: Tensor, base: Tensor, log_ratio: Tensor) -> Tensor:
    """x log(x / mean) + mean - x for x > 0; x / mean - 1 is ``gap`` / ``base``, log(x / mean) is ``log_ratio``."""
    near = gap.abs() < _NEAR * base
    share = torch.where(near, gap, 0.0) / torch.where(near, base, 1.0)
    close = mean * ((1.0 + share) * torch.log1p(share) - share)
    return torch.where(near, close, x * torch.where(near, 0.0, log_ratio) + mean - x)


def _stirling_error(x: Tensor) -> Tensor:
    """lgamma(x + 1) - (x + 1/2) log(x) + x - log(2π) / 2."""
    large = x > _LARGE
    near, far = torch.where(large, _LARGE, x), torch.where(large, x, _LARGE)
    direct = torch.lgamma(near + 1.0) - (near + 0.5) * near.log() + near - _HALF_LOG_2PI
    return torch.where(large, _series(far), direct)


def _series(a: Tensor) -> Tensor:
    """:func:`_stirling_error` of large a."""
    square = a**-2
    return (
        1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0)))
    ) / a
