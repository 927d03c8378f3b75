"""Inverse links: how a linear predictor becomes the mean of a response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hsmm.spelling import nearest

Elementwise: TypeAlias = Callable[[Tensor], Tensor]

_WIDEST = 30.0
_BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class InverseLink:
    """The mean at a predictor, and what stays exact where the mean itself would round.

    ``log_mean`` and ``log_complement`` are log(mean) and log(1 - mean), -inf where there is none; ``predictor`` is
    where a mean is reached.
    """

    name: str
    mean: Elementwise
    log_mean: Elementwise
    log_complement: Elementwise
    predictor: Elementwise


def _log(x: Tensor) -> Tensor:
    inside = x > 0
    return torch.where(inside, torch.where(inside, x, 1.0).log(), -torch.inf)


def _log_one_minus(x: Tensor) -> Tensor:
    return torch.where(x < 1, torch.log1p(-torch.where(x < 1, x, 0.0)), -torch.inf)


def _log_one_minus_exp(x: Tensor) -> Tensor:
    return torch.where(x < 0, (-torch.expm1(torch.where(x < 0, x, -1.0))).log(), -torch.inf)


def _softplus(x: Tensor) -> Tensor:
    return -logsigmoid(-x)


def _log_softplus(x: Tensor) -> Tensor:
    far = x < -_WIDEST
    return torch.where(far, x, _softplus(torch.where(far, 0.0, x)).log())


def _log_inverse(x: Tensor) -> Tensor:
    inside = x > 0
    return torch.where(inside, -torch.where(inside, x, 1.0).log(), -torch.inf)


def _same(x: Tensor) -> Tensor:
    return x


def _of_categories(x: Tensor) -> Tensor:
    return x.softmax(-2)


LINKS: dict[str, InverseLink] = {
    link.name: link
    for link in (
        InverseLink("exp", torch.exp, _same, _log_one_minus_exp, torch.log),
        InverseLink("logistic", torch.sigmoid, logsigmoid, lambda x: logsigmoid(-x), torch.logit),
        InverseLink(
            "softplus",
            _softplus,
            _log_softplus,
            lambda x: _log_one_minus(_softplus(x)),
            lambda m: m + (-torch.expm1(-m)).log(),
        ),
        InverseLink("identity", _same, _log, _log_one_minus, _same),
        InverseLink(
            "norm_cdf",
            torch.special.ndtr,
            torch.special.log_ndtr,
            lambda x: torch.special.log_ndtr(-x),
            torch.special.ndtri,
        ),
        InverseLink(
            "one_over_x", torch.reciprocal, _log_inverse, lambda x: _log_one_minus(x.reciprocal()), torch.reciprocal
        ),
        InverseLink("log_softmax", _of_categories, _same, _same, torch.log),
    )
}
ALIASES = {"expit": "logistic", "sigmoid": "logistic", "norm.cdf": "norm_cdf", "ndtr": "norm_cdf"}


def inverse_link(choice: str | Elementwise) -> InverseLink:
    """The link of this name, or of a function of tensors. Raises ``ValueError`` for other names."""
    if callable(choice):
        return _custom(choice)
    if isinstance(choice, str) and choice in LINKS:
        return LINKS[choice]
    known = {**{name: name for name in LINKS}, **ALIASES}
    found = [name for name in known if choice == name or str(choice).endswith(f".{name}")]
    if not isinstance(choice, str) or not found:
        raise ValueError(
            f"inverse_link is {choice!r}; expected one of {', '.join((*LINKS, *ALIASES))}, or a function of tensors"
            f"{nearest(choice, (*LINKS, *ALIASES))}"
        )
    return LINKS[known[max(found, key=len)]]


def _custom(function: Elementwise) -> InverseLink:
    """A rising function of tensors, elementwise and twice differentiable by torch."""

    def mean(x: Tensor) -> Tensor:
        made = function(x)
        if not isinstance(made, Tensor) or made.shape != x.shape:
            found = type(made).__name__ if not isinstance(made, Tensor) else f"shape {tuple(made.shape)}"
            raise ValueError(f"inverse_link returned {found}; expected a tensor of shape {tuple(x.shape)}.")
        return made

    def predictor(m: Tensor) -> Tensor:
        low, high = torch.full_like(m, -_WIDEST), torch.full_like(m, _WIDEST)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            above = mean(middle) > m
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return 0.5 * (low + high)

    return InverseLink("custom", mean, lambda x: _log(mean(x)), lambda x: _log_one_minus(mean(x)), predictor)
