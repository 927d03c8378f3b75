"""Families whose numbers may differ from row to row: what a head moves, and what of it is a parameter of the family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.counts import log_gamma_constant, log_negative_binomial, log_poisson

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_WIDE = 1e100  # a bound that no value reaches
_RATE = math.log(1e-10), math.log(1e15)


@dataclass(frozen=True)
class RowLaw:
    """A family by its unbounded numbers (..., P).

    - ``log_density(y, numbers)``: of values (N, F) for numbers (R, N, K, F, P): (R, N, K, F)
    - ``numbers(parameters)``: (R, K, F, P) of the family's own parameters; ``parameters(numbers)`` turns back
    - ``bounds``: the least and the largest of each number; those of logits are moved to sum to 0
    - ``has_unit``: whether values, and a mean and the logarithm of a scale, are in units of the data; the scale is
      then kept above a floor
    """

    log_density: Callable[[Tensor, Tensor], Tensor]
    numbers: Callable[[Mapping[str, Tensor]], Tensor]
    parameters: Callable[[Tensor], dict[str, Tensor]]
    bounds: tuple[tuple[float, float], ...]
    has_unit: bool = False
    are_logits: bool = False

    def limits(self, n_numbers: int) -> tuple[tuple[float, float], ...]:
        """One pair for each number; symbols share theirs."""
        return self.bounds * n_numbers if self.are_logits else self.bounds


def _gaussian(y: Tensor, numbers: Tensor) -> Tensor:
    return -0.5 * squares(y, numbers) - numbers[..., 1] - _HALF_LOG_2PI


def squares(y: Tensor, numbers: Tensor) -> Tensor:
    """(R, N, K, F) squared distances of values (N, F) from the mean in units of the scale."""
    return ((y[:, None] - numbers[..., 0]) * (-numbers[..., 1]).exp()).square()


def _poisson(y: Tensor, numbers: Tensor) -> Tensor:
    log_rate = numbers[..., 0]
    return log_poisson(y[:, None].expand_as(log_rate), log_rate.exp(), log_rate)


def _negative_binomial(y: Tensor, numbers: Tensor) -> Tensor:
    log_mean, log_size = numbers.unbind(-1)
    return log_negative_binomial(y[:, None].expand_as(log_mean), log_mean.exp(), log_mean, log_size.exp())


def _gamma(y: Tensor, numbers: Tensor) -> Tensor:
    log_mean, a = numbers[..., 0], numbers[..., 1].exp()
    log_ratio = y.log()[:, None] - log_mean
    return log_gamma_constant(a) + a * (log_ratio + 1.0 - log_ratio.exp()) - y.log()[:, None]


def _exponential(y: Tensor, numbers: Tensor) -> Tensor:
    log_mean = numbers[..., 0]
    return -log_mean - y[:, None] * (-log_mean).exp()


def _bernoulli(y: Tensor, numbers: Tensor) -> Tensor:
    logit = numbers[..., 0]
    return torch.nn.functional.logsigmoid(torch.where(y[:, None] == 1, logit, -logit))


def _categorical(y: Tensor, numbers: Tensor) -> Tensor:
    table = torch.nn.functional.pad(numbers.log_softmax(-1), (0, 1), value=-torch.inf)
    symbol = y.clamp(max=numbers.shape[-1]).long()[None, :, None, :, None].expand(*numbers.shape[:-1], 1)
    return table.gather(-1, symbol)[..., 0]


def _logs(*names: str) -> Callable[[Mapping[str, Tensor]], Tensor]:
    return lambda parameters: torch.stack([parameters[name].log() for name in names], -1)


def _exps(*names: str) -> Callable[[Tensor], dict[str, Tensor]]:
    return lambda numbers: dict(zip(names, numbers.exp().unbind(-1), strict=True))


_SPREAD = (-_WIDE, _WIDE), (-200.0, 200.0)

ROW_LAWS: dict[str, RowLaw] = {
    "gaussian": RowLaw(
        _gaussian,
        lambda p: torch.stack([p["mean"], 0.5 * p["covariance"].log()], -1),
        lambda x: {"mean": x[..., 0], "covariance": (2.0 * x[..., 1]).exp()},
        _SPREAD,
        has_unit=True,
    ),
    "poisson": RowLaw(_poisson, _logs("rate"), _exps("rate"), (_RATE,)),
    "negative_binomial": RowLaw(
        _negative_binomial, _logs("mean", "size"), _exps("mean", "size"), (_RATE, (-12.0, 20.0))
    ),
    "gamma": RowLaw(_gamma, _logs("mean", "shape"), _exps("mean", "shape"), ((-200.0, 200.0), (-12.0, 14.0))),
    "exponential": RowLaw(_exponential, _logs("mean"), _exps("mean"), ((-200.0, 200.0),)),
    "bernoulli": RowLaw(
        _bernoulli,
        lambda p: torch.logit(p["probability"], 1e-10).unsqueeze(-1),
        lambda x: {"probability": x[..., 0].sigmoid()},
        ((-30.0, 30.0),),
    ),
    "categorical": RowLaw(
        _categorical,
        lambda p: p["probability"].clamp(min=1e-10).log(),
        lambda x: {"probability": x.softmax(-1)},
        ((-30.0, 30.0),),
        are_logits=True,
    ),
}
ROW_LAWS["student_t"] = ROW_LAWS["gaussian"]
"""By the name of the family; a Student-t is a Gaussian whose rows each have a precision."""
