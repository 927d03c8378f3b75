"""Laws of a response given its mean: densities, curvatures, dispersions, draws."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hsmm.components.counts import log_gamma_constant, log_negative_binomial, log_poisson, poisson_excess
from hsmm.components.emission.glm.links import InverseLink
from hsmm.components.emission.support import BINARY, COUNTS, NUMBERS, POSITIVE, SYMBOLS, Support
from hsmm.components.emission.tails import (
    Tails,
    bernoulli_tails,
    gamma_tails,
    negative_binomial_tails,
    normal_tails,
    poisson_tails,
)
from hsmm.numerics import logsumexp

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_STEPS = 30
_SCALE_STEPS = 10


class Response(ABC):
    """One family. Tensors broadcast: ``y`` (Y, 1, N), predictors (R, Y, K, 1, N), scales (R, Y, K, 1, 1)."""

    name: ClassVar[str]
    link: ClassVar[str]
    has_scale: ClassVar[bool] = False
    support: ClassVar[Support] = NUMBERS
    least_scale: ClassVar[float] = 1e-8

    @abstractmethod
    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        """log p(y); -inf where the mean is none."""

    @abstractmethod
    def variance(self, mean: Tensor, scale: Tensor) -> Tensor: ...

    def tails(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tails:
        """Where responses lie in laws of these means; the tensors broadcast."""
        raise ValueError(f"{self.name} responses have no order, and so no distribution function.")

    @abstractmethod
    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor: ...

    def start_mean(self, mean: Tensor) -> Tensor:
        """A mean inside the range of means, near that of some data."""
        return mean

    def start_scale(self, mean: Tensor, variance: Tensor) -> Tensor:
        """The dispersion at which a mean has this variance."""
        return torch.ones_like(mean)

    def slopes(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> tuple[Tensor, Tensor, Tensor]:
        """-log p(y) up to a constant, its slope, and a curvature >= 0, per row."""
        with torch.enable_grad():
            x = predictor.detach().requires_grad_()
            value = -self.log_density(y, x, scale, link)
            (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), x) if slope.requires_grad else (torch.zeros_like(x),)
            mean = link.mean(x)
            (rise,) = torch.autograd.grad(mean.sum(), x)
        expected = (rise**2 / self.variance(mean.detach(), scale).clamp(min=1e-300)).nan_to_num(0.0, 0.0, 0.0)
        slope, bend = (part.detach().nan_to_num(0.0, 0.0, 0.0) for part in (slope, bend))
        return value.detach(), slope, torch.where(bend > 1e-3 * expected, bend, expected)

    def best_scale(self, y: Tensor, predictor: Tensor, scale: Tensor, weight: Tensor, link: InverseLink) -> Tensor:
        """A scale (R, Y, K, 1, 1) that does not lower Σ weight · log p(y)."""
        return scale


class Bernoulli(Response):
    name, link, support = "bernoulli", "logistic", BINARY

    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        if link.name == "logistic":
            return logsigmoid((2.0 * y - 1.0) * predictor)
        return torch.where(y > 0.5, link.log_mean(predictor), link.log_complement(predictor))

    def variance(self, mean: Tensor, scale: Tensor) -> Tensor:
        return mean * (1.0 - mean)

    def tails(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tails:
        return bernoulli_tails(y, mean)

    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        return (torch.rand(mean.shape, generator=generator, dtype=mean.dtype) < mean).to(mean.dtype)

    def start_mean(self, mean: Tensor) -> Tensor:
        return mean.clamp(0.01, 0.99)

    def slopes(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> tuple[Tensor, Tensor, Tensor]:
        if link.name != "logistic":
            return super().slopes(y, predictor, scale, link)
        log_density = logsigmoid((2.0 * y - 1.0) * predictor)
        mean = predictor.sigmoid()
        return -log_density, mean - y, mean * (1.0 - mean)


class Poisson(Response):
    name, link, support = "poisson", "exp", COUNTS

    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        mean, inside = _not_negative(link.mean(predictor))
        return torch.where(inside, log_poisson(y, mean, link.log_mean(predictor)), -torch.inf)

    def variance(self, mean: Tensor, scale: Tensor) -> Tensor:
        return mean

    def tails(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tails:
        return poisson_tails(y, mean)

    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(mean, generator=generator)

    def start_mean(self, mean: Tensor) -> Tensor:
        return mean.clamp(min=0.01)

    def slopes(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> tuple[Tensor, Tensor, Tensor]:
        if link.name != "exp":
            return super().slopes(y, predictor, scale, link)
        mean, some = predictor.exp(), y > 0
        value = torch.where(some, poisson_excess(torch.where(some, y, 1.0), mean, predictor), mean)
        return value, mean - y, mean


class NegativeBinomial(Response):
    """Variance mean + scale · mean²."""

    name, link, has_scale, support = "negative_binomial", "exp", True, COUNTS
    most_scale: ClassVar[float] = 1e6

    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        mean, inside = _not_negative(link.mean(predictor))
        value = log_negative_binomial(y, mean, link.log_mean(predictor), 1.0 / scale)
        return torch.where(inside, value, -torch.inf)

    def variance(self, mean: Tensor, scale: Tensor) -> Tensor:
        return mean + scale * mean**2

    def tails(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tails:
        return negative_binomial_tails(y, mean, 1.0 / scale)

    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        size = (1.0 / scale).expand_as(mean)
        return torch.poisson(torch._standard_gamma(size, generator=generator) / size * mean, generator=generator)

    def start_mean(self, mean: Tensor) -> Tensor:
        return mean.clamp(min=0.01)

    def start_scale(self, mean: Tensor, variance: Tensor) -> Tensor:
        return ((variance - mean) / mean**2).clamp(0.01, 10.0)

    def slopes(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> tuple[Tensor, Tensor, Tensor]:
        if link.name != "exp":
            return super().slopes(y, predictor, scale, link)
        size, odds = 1.0 / scale, predictor + scale.log()
        share = odds.sigmoid()
        value = -size * logsigmoid(-odds) - y * logsigmoid(odds)
        return value, (size + y) * share - y, (size + y) * share * (1.0 - share)

    def best_scale(self, y: Tensor, predictor: Tensor, scale: Tensor, weight: Tensor, link: InverseLink) -> Tensor:
        """Newton steps in log(scale), shortened where they would lower the objective."""

        def value(log_scale: Tensor) -> Tensor:
            density = self.log_density(y, predictor, log_scale.exp(), link)
            return _weighted(weight, density).sum((-1, -2), keepdim=True)

        here, low, high = scale.log(), math.log(self.least_scale), math.log(self.most_scale)
        length = torch.ones_like(here)
        for _ in range(_SCALE_STEPS):
            with torch.enable_grad():
                x = here.detach().requires_grad_()
                reached = value(x)
                (slope,) = torch.autograd.grad(reached.sum(), x, create_graph=True)
                (bend,) = torch.autograd.grad(slope.sum(), x)
            reached, slope = reached.detach(), slope.detach()
            step = torch.where(bend < 0, -slope / bend.clamp(max=-1e-12), slope.sign()).clamp(-2.0, 2.0)
            moving = (slope * step > 1e-12 * (1.0 + reached.abs())) & (length > 1e-4)
            if not bool(moving.any()):
                break
            there = (here + torch.where(moving, length * step, 0.0)).clamp(low, high)
            climbs = value(there) >= reached - 1e-14 * reached.abs()
            here = torch.where(climbs, there, here)
            length = torch.where(climbs, (2.0 * length).clamp(max=1.0), 0.25 * length)
        return here.exp().clamp(self.least_scale, self.most_scale)


class Gamma(Response):
    """Shape 1 / scale, variance scale · mean²."""

    name, link, has_scale, support = "gamma", "one_over_x", True, POSITIVE
    most_scale: ClassVar[float] = 1e6

    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        log_mean = link.log_mean(predictor)
        inside = log_mean.isfinite()
        log_mean = torch.where(inside, log_mean, 0.0)
        value = y.log() - log_mean - y * (-log_mean).exp() + 1.0
        return torch.where(inside, log_gamma_constant(1.0 / scale) + value / scale - y.log(), -torch.inf)

    def variance(self, mean: Tensor, scale: Tensor) -> Tensor:
        return scale * mean**2

    def tails(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tails:
        return gamma_tails(y, mean, 1.0 / scale)

    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        shape = (1.0 / scale).expand_as(mean)
        return torch._standard_gamma(shape, generator=generator) / shape * mean

    def start_mean(self, mean: Tensor) -> Tensor:
        return mean.clamp(min=1e-100)

    def start_scale(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (variance / mean**2).clamp(1e-4, 10.0)

    def best_scale(self, y: Tensor, predictor: Tensor, scale: Tensor, weight: Tensor, link: InverseLink) -> Tensor:
        """The root of log a - digamma(a) = mean of y/μ - log(y/μ) - 1, a = 1 / scale, by Newton in log(a)."""
        log_ratio = y.log() - link.log_mean(predictor)
        weight = torch.where(log_ratio.isfinite(), weight, 0.0)  # no scale helps rows that have no mean
        total = weight.sum((-1, -2), keepdim=True)
        gap = _weighted(weight, torch.expm1(log_ratio) - log_ratio).sum((-1, -2), keepdim=True)
        gap = (gap / total.clamp(min=1e-300)).clamp(min=1e-12)
        a = (1.0 + (1.0 + 4.0 * gap / 3.0).sqrt()) / (4.0 * gap)
        for _ in range(_STEPS):
            miss = a.log() - torch.digamma(a) - gap
            bend = 1.0 - a * torch.polygamma(1, a)
            a = a * torch.exp((-miss / bend).clamp(-2.0, 2.0))
        return (1.0 / a).clamp(self.least_scale, self.most_scale)


class Gaussian(Response):
    """``scale`` is the variance."""

    name, link, has_scale = "gaussian", "identity", True

    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        return -0.5 * (y - link.mean(predictor)) ** 2 / scale - (_HALF_LOG_2PI + 0.5 * scale.log())

    def variance(self, mean: Tensor, scale: Tensor) -> Tensor:
        return scale.expand_as(mean)

    def tails(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tails:
        return normal_tails(y, mean, scale.sqrt())

    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        return mean + scale.sqrt() * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)

    def start_scale(self, mean: Tensor, variance: Tensor) -> Tensor:
        return variance

    def slopes(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> tuple[Tensor, Tensor, Tensor]:
        if link.name != "identity":
            return super().slopes(y, predictor, scale, link)
        rest = (predictor - y) / scale
        return 0.5 * rest * (predictor - y), rest, scale.reciprocal().expand_as(rest)

    def best_scale(self, y: Tensor, predictor: Tensor, scale: Tensor, weight: Tensor, link: InverseLink) -> Tensor:
        total = weight.sum((-1, -2), keepdim=True)
        return _weighted(weight, (y - link.mean(predictor)) ** 2).sum((-1, -2), keepdim=True) / total.clamp(min=1e-300)


class Categorical(Response):
    """Categories 0..M-1 with a predictor each, (R, Y, K, M, N); slopes are M-vectors, curvatures matrices."""

    name, link, support = "categorical", "log_softmax", SYMBOLS

    def log_density(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> Tensor:
        m = predictor.shape[-2]
        index = y.long().clamp(0, m - 1).expand(*predictor.shape[:-2], 1, y.shape[-1])
        chosen = predictor.gather(-2, index)
        value = chosen - logsumexp(predictor, -2).unsqueeze(-2)
        return torch.where(y < m, value, -torch.inf)

    def variance(self, mean: Tensor, scale: Tensor) -> Tensor:
        return mean * (1.0 - mean)

    def draw(self, mean: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
        height = mean.cumsum(-2)
        threshold = torch.rand((*mean.shape[:-2], 1, mean.shape[-1]), generator=generator, dtype=mean.dtype)
        return (height[..., :-1, :] <= threshold).sum(-2, keepdim=True).to(mean.dtype)

    def slopes(self, y: Tensor, predictor: Tensor, scale: Tensor, link: InverseLink) -> tuple[Tensor, Tensor, Tensor]:
        mean = predictor.softmax(-2)
        category = torch.arange(predictor.shape[-2], dtype=y.dtype, device=y.device)[:, None]
        slope = mean - (y == category).to(y.dtype)
        bend = torch.diag_embed(mean.movedim(-2, -1)).movedim((-2, -1), (-3, -2))
        return -self.log_density(y, predictor, scale, link), slope, bend - mean.unsqueeze(-2) * mean.unsqueeze(-3)


RESPONSES: dict[str, Response] = {
    family.name: family for family in (Bernoulli(), Poisson(), Gamma(), NegativeBinomial(), Gaussian(), Categorical())
}


def _not_negative(mean: Tensor) -> tuple[Tensor, Tensor]:
    """The means, 0 where they are none, and where they are."""
    inside = mean >= 0
    return torch.where(inside, mean, 0.0), inside


def _weighted(weight: Tensor, value: Tensor) -> Tensor:
    return torch.where(weight > 0, weight * torch.where(weight > 0, value, 0.0), 0.0)
