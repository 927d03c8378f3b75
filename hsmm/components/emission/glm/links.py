"""Inverse links: how a linear predictor becomes the mean of a response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Elementwise: TypeAlias = Callable[[Tensor], Tensor]

_WIDEST = 30.0
_BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class InverseLink:
    """The mean at a predictor, and what stays exact where the mean itself would round.

    ``log_mean`` and ``log_complement`` are log(mean) and log(1 - mean); ``predictor`` is where a mean is reached.
    """

    name: str
    mean: Elementwise
    log_mean: Elementwise
    log_complement: Elementwise
    predictor: Elementwise


def _log_softplus(x: Tensor) -> Tensor:
    far = x < -_WIDEST
    return torch.where(far, x, -(-logsigmoid(-torch.where(far, 0.0, x)).log().neg()))


def _log(x: Tensor) -> Tensor:
    """log, and -inf where there is none."""
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).log(), -torch.inf)


def _log_one_minus(x: Tensor) -> Tensor:
    return torch.where(x < 1, torch.log1p(-torch.where(x < 1, x, 0.0)), -torch.inf)


LINKS: dict[str, InverseLink] = {
    link.name: link
    for link in (
        InverseLink(
            "exp",
            torch.exp,
            lambda x: x,
            lambda x: torch.where(x < 0, (-torch.expm1(torch.where(x < 0, x, -1.0))).log(), -torch.inf),
            torch.log,
        ),
        InverseLink("logistic", torch.sigmoid, logsigmoid, lambda x: logsigmoid(-x), torch.logit),
        InverseLink(
            "softplus",
            lambda x: -logsigmoid(-x),
            _log_softplus,
            lambda x: _log_one_minus(-logsigmoid(-x)),
            lambda m: m + (-torch.expm1(-m)).log(),
        ),
        InverseLink("identity", lambda x: x, _log, _log_one_minus, lambda m: m),
        InverseLink(
            "norm_cdf",
            torch.special.ndtr,
            torch.special.log_ndtr,
            lambda x: torch.special.log_ndtr(-x),
            torch.special.ndtri,
        ),
        InverseLink(
            "one_over_x", torch.reciprocal, lambda x: -_log_or_inf(x), _log_complement_of_inverse, torch.reciprocal
        ),
    )
}
