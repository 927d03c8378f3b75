"""Families on all positive whole numbers, cut at ``max_duration`` or closed with a geometric tail."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step
from hsmm.components.base import Bound, Constraint
from hsmm.components.counts import log_rising
from hsmm.components.duration import native
from hsmm.components.duration.base import Duration, DurationCounts, DurationTables, expected_log_likelihood, from_usable
from hsmm.components.duration.differences import ascended
from hsmm.numerics import log_one_minus_exp
from hsmm.sequences import Sequences
from hsmm.types import StateVector

_NEWTON_STEPS, _STEPS_BY_DIFFERENCES = 3, 2
_ALMOST_FOR_EVER = -1e-12  # the log-probability of staying on, where rounding could say more than always
_STEP_SIZES = (1.0, 0.25, 0.05, 0.005)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parametric(Duration):
    """A law given by an unnormalised log-pmf of ``shape`` (R, K, P), unconstrained parameters within ``shape_bounds``.

    With ``tail`` the mass beyond ``max_duration`` goes to the tail slot, which decays by the family's own ratio
    P(d > D + 1) / P(d > D); without, the law is truncated to ``max_duration`` and renormalised.
    """

    state_axes: ClassVar = {"shape": (1,)}
    shape_bounds: ClassVar[tuple[tuple[float, float], ...]]
    """The least and the largest value of each of the P."""
    form_spread: ClassVar[float] = 2.0
    """Of a second parameter, before any stay was seen: what moves the logarithm of deviation / mean by about one."""

    tail: bool = True

    @property
    def has_tail(self) -> bool:
        return self.tail

    @abstractmethod
    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        """(R, K, L) log-weights of durations (L,) >= 1, up to a constant of each state."""

    @abstractmethod
    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        """(R, K, P) parameters with about these mean durations."""

    def log_potentials(self, sequences: Sequences | None = None) -> DurationTables:
        shape = self.parameters["shape"]
        return self._law().tables(shape) if native.supports(self.name, shape) else self._tables(shape)

    def initialise(self, mean_dwell: StateVector) -> Self:
        return self.with_parameters(shape=self.within_bounds("shape", self.shape_for(mean_dwell.clamp(min=1.0 + 1e-3))))

    def maximise(self, sequences: Sequences, counts: DurationCounts, held: Collection[str] = ()) -> Self:
        """Newton's method on the exact objective, never downhill: to the maximum in C++, else a few damped steps, on a
        GPU by differences."""
        shape = self.parameters["shape"]
        if native.supports(self.name, shape):
            return self.with_parameters(shape=self._law().maximised(shape, counts))
        if shape.device.type != "cpu":
            return self.with_parameters(shape=self._ascended(shape, counts))
        for _ in range(_NEWTON_STEPS):
            shape, before = self._newton_step(shape, counts), shape
            if torch.equal(shape, before):
                break
        return self.with_parameters(shape=shape)

    def check(self) -> None:
        found, wanted = tuple(self.parameters["shape"].shape[1:]), len(self.shape_bounds)
        if len(found) != 2 or found[1] != wanted:
            raise ValueError(f"{self.name} durations and a shape of {found} do not fit; expected (K, {wanted}).")

    def constraints(self) -> Mapping[str, Constraint]:
        return {"shape": "real"}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        return self.with_parameters(shape=self.within_bounds("shape", coordinates["shape"]))

    def n_parameters(self) -> int:
        _, n_states, n_shape = self.parameters["shape"].shape
        return n_states * (n_shape if self.tail else min(n_shape, self.max_duration - self.min_duration))

    def _law(self) -> native.Law:
        return native.Law(self.name, self.min_duration, self.max_duration, self.tail, self.shape_bounds)

    def _tables(self, shape: Tensor) -> DurationTables:
        longest = self.max_duration + max(self.max_duration, 64) if self.tail else self.max_duration
        durations = torch.arange(self.min_duration, longest + 1, dtype=shape.dtype, device=shape.device)
        weights = self.log_pmf(durations, shape)
        if not self.tail:
            return DurationTables(from_usable(weights.log_softmax(-1), self.min_duration, -torch.inf))
        split = self.max_duration - self.min_duration + 1
        ratio = (weights[..., -1] - weights[..., -2]).clamp(max=-1e-8)
        rest = weights[..., -1] + ratio - log_one_minus_exp(ratio)
        beyond = torch.cat([weights[..., split:], rest.unsqueeze(-1)], -1)
        mass = beyond.logsumexp(-1)
        table = torch.cat([weights[..., :split], mass.unsqueeze(-1)], -1).log_softmax(-1)
        stay = (beyond[..., 1:].logsumexp(-1) - mass).clamp(max=_ALMOST_FOR_EVER)
        return DurationTables(from_usable(table, self.min_duration, -torch.inf), stay)

    def _objective(self, shape: Tensor, counts: DurationCounts) -> Tensor:
        """(R, K) expected complete-data log-likelihood."""
        return expected_log_likelihood(self._tables(shape), counts, self.min_duration)

    def _ascended(self, shape: Tensor, counts: DurationCounts) -> Tensor:
        for _ in range(_STEPS_BY_DIFFERENCES):
            shape = ascended(shape, partial(self._objective, counts=counts), partial(self.within_bounds, "shape"))
        return shape

    def _newton_step(self, shape: Tensor, counts: DurationCounts) -> Tensor:
        with torch.enable_grad():
            point = shape.detach().requires_grad_()
            value = self._objective(point, counts)
            (gradient,) = torch.autograd.grad(value.sum(), point, create_graph=True)
            rows = [
                torch.autograd.grad(gradient[..., i].sum(), point, retain_graph=True)[0] for i in range(shape.shape[-1])
            ]
        value, gradient, hessian = value.detach(), gradient.detach(), torch.stack(rows, -2).detach()
        curvature, axes = torch.linalg.eigh(hessian.nan_to_num(0.0))
        damped = curvature.abs().clamp(min=1e-8)
        direction = (axes @ ((axes.mT @ gradient.nan_to_num(0.0).unsqueeze(-1)) / damped.unsqueeze(-1))).squeeze(-1)
        direction = direction / direction.norm(dim=-1, keepdim=True).clamp(min=1.0)

        def trial(size: float) -> Tensor:
            return self.within_bounds("shape", shape + size * direction)

        def objective(there: Tensor) -> Tensor:
            return self._objective(there, counts).detach()

        return longest_step(shape, value, trial, objective, _STEP_SIZES, choose_entries)[0]

    def bounds(self) -> Mapping[str, tuple[Bound, Bound]]:
        low, high = zip(*self.shape_bounds, strict=True)
        return {"shape": (low, high)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometric(Parametric):
    """P(d) ∝ a^(d - 1): the semi-Markov form of an HMM. ``shape`` is log(-log a)."""

    name: ClassVar[str] = "geometric"
    shape_bounds: ClassVar = ((-18.0, 4.0),)

    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        return -shape.exp() * (durations - 1.0)

    def natural(self) -> dict[str, Tensor]:
        """``p``: P(the segment ends with a step it has reached)."""
        return {"p": -torch.expm1(-self.parameters["shape"][..., 0].exp())}

    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        excess = (mean_dwell - self.min_duration).clamp(min=1e-3)
        return torch.log1p(1.0 / excess).log().unsqueeze(-1)

    def maximise(self, sequences: Sequences, counts: DurationCounts, held: Collection[str] = ()) -> Self:
        """Closed form where the law is not truncated; its equilibrium residual law is the law itself."""
        if not self.tail or (self.min_duration > 1 and counts.has_residual):
            return super().maximise(sequences, counts, held)
        segments = counts.duration + counts.residual
        extra = torch.arange(segments.shape[-1], dtype=segments.dtype, device=segments.device) - (self.min_duration - 1)
        continued = (segments * extra.clamp(min=0.0)).sum(-1) + counts.tail_stay
        ended = segments[..., :-1].sum(-1) + counts.tail_leave
        shape = torch.log1p(ended / continued.clamp(min=1e-300)).log()
        shape = torch.where(continued + ended > 0, shape, self.parameters["shape"][..., 0])
        return self.with_parameters(shape=self.within_bounds("shape", shape.nan_to_num(neginf=-18.0).unsqueeze(-1)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Poisson(Parametric):
    """d - 1 is Poisson. ``shape`` is its log-mean."""

    name: ClassVar[str] = "poisson"
    shape_bounds: ClassVar = ((-9.0, 9.0),)

    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        return (durations - 1.0) * shape - torch.lgamma(durations)

    def natural(self) -> dict[str, Tensor]:
        """``rate``: mean of d - 1."""
        return {"rate": self.parameters["shape"][..., 0].exp()}

    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        return (mean_dwell - 1.0).log().unsqueeze(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativeBinomial(Parametric):
    """d - 1 is negative binomial. ``shape`` is (log-mean, log r); r = 1 is geometric, r → ∞ Poisson."""

    name: ClassVar[str] = "negative_binomial"
    shape_bounds: ClassVar = ((-9.0, 9.0), (-4.0, 16.0))

    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        log_mean, log_r = shape[..., :1], shape[..., 1:]
        steps = durations - 1.0
        log_odds = -torch.stack([-log_r, -log_mean]).logsumexp(0)  # logaddexp rounds by an entry's place in memory
        return log_rising(log_r.exp(), steps) - torch.lgamma(durations) + steps * log_odds

    def natural(self) -> dict[str, Tensor]:
        """``rate``: mean of d - 1; ``r``: its size."""
        return dict(zip(("rate", "r"), self.parameters["shape"].exp().unbind(-1), strict=True))

    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        return torch.stack([(mean_dwell - 1.0).log(), torch.full_like(mean_dwell, 0.5)], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gamma(Parametric):
    """The density of a gamma law at whole numbers, normalised. ``shape`` is (log-mean, log a) of that law.

    a = 1 is geometric. The discretisation is that of O'Connell & Højsgaard (2011).
    """

    name: ClassVar[str] = "gamma"
    shape_bounds: ClassVar = ((-9.0, 12.0), (-4.0, 8.0))

    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        log_mean, a = shape[..., :1], shape[..., 1:].exp()
        return (a - 1.0) * durations.log() - a * durations * (-log_mean).exp()

    def natural(self) -> dict[str, Tensor]:
        """``location``: mean of the density; ``a``: its shape."""
        return dict(zip(("location", "a"), self.parameters["shape"].exp().unbind(-1), strict=True))

    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        return torch.stack([mean_dwell.log(), torch.full_like(mean_dwell, 0.5)], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class LogNormal(Parametric):
    """The density of a log-normal law at whole numbers, normalised. ``shape`` is (mean, log σ) of the logarithm.

    The discretisation is that of O'Connell & Højsgaard (2011).
    """

    name: ClassVar[str] = "log_normal"
    shape_bounds: ClassVar = ((-9.0, 12.0), (-4.0, 3.0))
    form_spread: ClassVar[float] = 1.0

    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        centre, log_sigma = shape[..., :1], shape[..., 1:]
        logs = durations.log()
        return -logs - 0.5 * ((logs - centre) * (-log_sigma).exp()).square()

    def natural(self) -> dict[str, Tensor]:
        """``mu``, ``sigma``: mean and standard deviation of the density's logarithm."""
        mu, log_sigma = self.parameters["shape"].unbind(-1)
        return {"mu": mu, "sigma": log_sigma.exp()}

    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        sigma = 0.7
        return torch.stack([mean_dwell.log() - 0.5 * sigma**2, torch.full_like(mean_dwell, math.log(sigma))], -1)
