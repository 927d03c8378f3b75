"""Distribution functions of univariate laws, from both ends so that no tail is lost to rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import special
from torch import Tensor

from hsmm.components.counts import log_negative_binomial, log_poisson
from hsmm.components.emission.support import wrapped

_CELLS, _NODES = 2048, 8  # of a turn: narrow beside the narrowest law, 1e-3 radians


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


def von_mises_tails(y: Tensor, mean: Tensor, concentration: Tensor) -> Tails:
    """From -π to π, by Gauss's rule in the logarithm: what a tail of 1e-300 holds is not lost beside the whole."""
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(_NODES))
    edges = torch.linspace(-math.pi, math.pi, _CELLS + 1, dtype=y.dtype)

    def log_mass(low: Tensor, high: Tensor) -> Tensor:
        """Between angles (N, F, K), up to the law's constant."""
        half = 0.5 * (high - low).clamp(min=0.0).unsqueeze(-1)
        angles = low.unsqueeze(-1) + half * (nodes + 1.0)
        height = concentration.unsqueeze(-1) * -2.0 * torch.sin(0.5 * (angles - mean.unsqueeze(-1))).square()
        return (height + (half * weights).log()).logsumexp(-1)

    shape = (_CELLS, *torch.broadcast_shapes(mean.shape, concentration.shape))
    cells = log_mass(*(edge.view(-1, 1, 1).expand(shape) for edge in (edges[:-1], edges[1:])))
    none = torch.full_like(cells[:1], -torch.inf)
    up = torch.cat([none, cells.logcumsumexp(0)])
    down = torch.cat([cells.flip(0).logcumsumexp(0).flip(0), none])
    angle = wrapped(y).expand(len(y), *shape[1:])
    cell = ((angle + math.pi) / (2.0 * math.pi) * _CELLS).long().clamp(0, _CELLS - 1)
    below = torch.logaddexp(up.gather(0, cell), log_mass(edges[cell], angle))
    above = torch.logaddexp(down.gather(0, cell + 1), log_mass(angle, edges[cell + 1]))
    whole = torch.logaddexp(below, above)
    return _continuous(below - whole, above - whole)


def _continuous(below: Tensor, above: Tensor) -> Tails:
    return Tails(below, torch.full_like(below, -torch.inf), above)


def _log(probability: np.ndarray) -> Tensor:
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(probability))
