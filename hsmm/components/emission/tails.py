"""Distribution functions of univariate laws, from both ends so that no tail is lost to rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import special
from torch import Tensor

from hsmm.components.counts import log_negative_binomial, log_poisson


@dataclass(frozen=True, eq=False)
class Tails:
    """log P(Y < y), log P(Y = y) and log P(Y > y); a density has no mass at y."""

    below: Tensor
    at: Tensor
    above: Tensor

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.below, self.at, self.above

    def mixed(self, log_weight: Tensor) -> Self:
        """The law that takes one of those along the last axis with these log-probabilities, which sum to one."""
        return type(self)(*((part + log_weight).logsumexp(-1) for part in self.parts()))


def normal_tails(y: Tensor, mean: Tensor, sd: Tensor) -> Tails:
    z = (y - mean) / sd
    return _continuous(torch.special.log_ndtr(z), torch.special.log_ndtr(-z))


def student_tails(y: Tensor, mean: Tensor, scale: Tensor, dof: Tensor) -> Tails:
    z = ((y - mean) / scale).numpy()
    return _continuous(_log(special.stdtr(dof.numpy(), z)), _log(special.stdtr(dof.numpy(), -z)))


def gamma_tails(y: Tensor, mean: Tensor, shape: Tensor) -> Tails:
    x, a = (shape * y / mean).numpy(), shape.numpy()
    return _continuous(_log(special.gammainc(a, x)), _log(special.gammaincc(a, x)))


def poisson_tails(y: Tensor, rate: Tensor) -> Tails:
    count, mean = np.broadcast_arrays(y.numpy(), rate.numpy())
    below = np.where(count > 0, special.gammaincc(np.maximum(count, 1.0), mean), 0.0)
    return Tails(_log(below), log_poisson(y, rate, rate.log()), _log(special.gammainc(count + 1.0, mean)))


def negative_binomial_tails(y: Tensor, mean: Tensor, size: Tensor) -> Tails:
    count, m, r = np.broadcast_arrays(y.numpy(), mean.numpy(), size.numpy())
    below = np.where(count > 0, special.betainc(r, np.maximum(count, 1.0), r / (r + m)), 0.0)
    at = log_negative_binomial(y, mean, mean.log(), size)
    return Tails(_log(below), at, _log(special.betainc(count + 1.0, r, m / (r + m))))


def bernoulli_tails(y: Tensor, probability: Tensor) -> Tails:
    one = y == 1
    yes, no = probability.log(), torch.log1p(-probability)
    return Tails(torch.where(one, no, -torch.inf), torch.where(one, yes, no), torch.where(one, -torch.inf, yes))


def _continuous(below: Tensor, above: Tensor) -> Tails:
    return Tails(below, torch.full_like(below, -torch.inf), above)


def _log(probability: np.ndarray) -> Tensor:
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(probability))
