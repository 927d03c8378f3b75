"""Linear heads: numbers of a law that change with the context, and how expected counts move them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step
from hsmm.components.base import Constraint
from hsmm.components.covariates import OnCovariates
from hsmm.components.register import resolve
from hsmm.sequences import Sequences

LARGEST_SLOPE = 30.0
"""The largest change by a standard deviation of the context: a bound for separable data."""

_STEP_SIZES = (1.0, 0.5, 0.2, 0.05, 0.005)
_LONGEST = 4.0  # of a step, in any coordinate
_ROUNDING = 1e-14
_MOST_CELLS = 2_000_000  # of tables by row that are differentiated at once


def units(context: Tensor, n_restarts: int) -> tuple[Tensor, Tensor]:
    """(R, C) mean and standard deviation of each column of a context (N, C), the latter 0 where it is constant.

    What an encoder made, (R, N, C), is in units of its own: 0 and 1. Raises ``ValueError`` for a context so large that
    its square overflows.
    """
    if context.ndim == 3:
        return context.new_zeros(n_restarts, context.shape[-1]), context.new_ones(n_restarts, context.shape[-1])
    mean, spread = context.mean(0), context.std(0, unbiased=False)
    if not bool(spread.isfinite().all()):
        raise ValueError(f"the context holds {float(context.abs().max()):.3g}, whose square overflows; rescale it.")
    spread = torch.where(context.amin(0) == context.amax(0), 0.0, spread)
    return mean.expand(n_restarts, -1).clone(), spread.expand(n_restarts, -1).clone()


def standard(context: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """(R, N, C) in standard deviations from the mean; 0 in columns that were constant in the fit."""
    centre, spread = centre.unsqueeze(1), spread.unsqueeze(1)
    return torch.where(spread > 0, (context - centre) / spread.where(spread > 0, 1.0), 0.0)


def with_constant(context: Tensor) -> Tensor:
    """(R, N, 1 + C) a column of ones before the context."""
    return torch.cat([context.new_ones(*context.shape[:-1], 1), context], -1)


def check_penalty(penalty: float) -> None:
    if not (isinstance(penalty, (int, float)) and 0.0 <= penalty < float("inf")):
        raise ValueError(f"penalty is {penalty!r}; expected a number >= 0 (0 is none).")


def check_temperature(temperature: float) -> None:
    if not (isinstance(temperature, (int, float)) and 0.0 < temperature < float("inf")):
        raise ValueError(f"temperature is {temperature!r}; expected a number > 0 (1 changes nothing).")


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearHead(OnCovariates):
    """Numbers of a law that are ``bias`` (R, U…, P) at the mean context and change by ``coef`` (R, U…, P, C) a standard
    deviation of it, with ``centre`` and ``spread`` (R, C) of the context.

    ``penalty`` >= 0 is that of a ridge on ``coef``: penalty / 2 · Σ coef². A column that is constant in the fit has
    coefficients of 0; with coefficients of 0 in all columns the law is that of the family without context.
    """

    reads_one_row: ClassVar[bool] = True

    penalty: float = 1.0

    def __post_init__(self) -> None:
        check_penalty(self.penalty)

    @abstractmethod
    def tamed(self, point: Tensor) -> Tensor:
        """A point (R, U…, P, 1 + C) moved to where a fit may put it."""

    def beside(self, sequences: Sequences) -> Self:
        context = self.design(sequences)
        bias = self.parameters["bias"]
        centre, spread = units(context, bias.shape[0])
        coef = bias.new_zeros(*bias.shape, centre.shape[-1])
        return self.with_parameters(coef=coef, centre=centre.to(bias), spread=spread.to(bias))

    def standard(self, sequences: Sequences) -> Tensor:
        """(R, N, C) the context in the units of the fit."""
        context = self.design(sequences, self.parameters["centre"].shape[-1])
        return standard(context, self.parameters["centre"], self.parameters["spread"])

    def numbers(self, context: Tensor) -> Tensor:
        """(R, N, U…, P) at a standardised context (R, N, C), column by column, so that no row's bits depend on others;
        where a gradient is asked for, at once."""
        bias, coef = self.parameters["bias"], self.parameters["coef"]
        if coef.requires_grad or context.requires_grad:
            flat = coef.flatten(1, -2)
            return bias.unsqueeze(1) + (context @ flat.mT).view(*context.shape[:2], *bias.shape[1:])
        found = bias.unsqueeze(1).expand(-1, context.shape[1], *[-1] * (bias.ndim - 1))
        narrow = [1] * (bias.ndim - 1)
        for column in range(context.shape[-1]):
            found = found + coef[..., column].unsqueeze(1) * context[..., column].view(*context.shape[:2], *narrow)
        return found

    def point(self) -> Tensor:
        """(R, U…, P, 1 + C) bias and coefficients."""
        return torch.cat([self.parameters["bias"].unsqueeze(-1), self.parameters["coef"]], -1)

    def at(self, point: Tensor) -> Self:
        return self.with_parameters(bias=point[..., 0].clone(), coef=point[..., 1:].clone())

    def log_prior(self) -> Tensor:
        return -0.5 * self.penalty * self.parameters["coef"].square().flatten(1).sum(1)

    def constraints(self) -> Mapping[str, Constraint]:
        return {"bias": "real", "coef": "real"}

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        made = self.with_parameters(**coordinates)
        learnt = self.parameters["spread"] > 0
        coef = torch.where(learnt.view(len(learnt), *[1] * (made.parameters["coef"].ndim - 2), -1), 1.0, 0.0)
        made = made.with_parameters(coef=made.parameters["coef"] * coef)
        return made.at(made.tamed(made.point()))

    def n_slopes(self) -> int:
        """Columns of the context that can move the law."""
        return int((self.parameters["spread"][0] > 0).sum())

    def check_head(self, units_of: tuple[int, ...]) -> None:
        """Raise ``ValueError`` unless the parameters fit each other, ``bias`` being (R, \\*units)."""
        shapes = {name: tuple(self.parameters[name].shape[1:]) for name in ("bias", "coef", "centre", "spread")}
        c = shapes["centre"]
        if len(c) != 1 or shapes != {"bias": units_of, "coef": units_of + c, "centre": c, "spread": c}:
            raise ValueError(f"the contextual {self.kind} has tables of shapes {shapes}, which do not fit each other.")


Value = Callable[[Tensor, Tensor], Tensor]


def newton_step(
    point: Tensor, design: Tensor, value: Value, penalty: float, tamed: Callable[[Tensor], Tensor], cells: int
) -> Tensor:
    """One damped Newton step from ``point`` (R, U, P, C), its last axis the columns of ``design`` (R, N, C).

    The objective of each (restart, unit) is Σ value - penalty / 2 · Σ coef², coef all columns but the first, where
    ``value(numbers, rows)`` are (R, n, U) expected log-probabilities of rows (n,), for their numbers (R, n, U, P), of
    ``cells`` entries a row. The curvature is that by row. A unit that every step size lowers stays.
    """
    rows = torch.arange(design.shape[1], device=design.device).split(max(1, _MOST_CELLS // max(cells, 1)))
    step = _direction(point, design, value, penalty, rows)

    def objective(there: Tensor) -> Tensor:
        found = torch.stack([value(_numbers(there, design[:, part]), part).sum(1) for part in rows]).sum(0)
        return found - 0.5 * penalty * there[..., 1:].square().sum((-1, -2))

    def trial(size: float) -> Tensor:
        return tamed(point + size * step)

    return longest_step(point, objective(point), trial, objective, _STEP_SIZES, choose_entries, _ROUNDING)[0]


def _numbers(point: Tensor, design: Tensor) -> Tensor:
    r, u, p, c = point.shape
    return (design @ point.reshape(r, u * p, c).mT).view(r, -1, u, p)


def _direction(point: Tensor, design: Tensor, value: Value, penalty: float, rows: tuple[Tensor, ...]) -> Tensor:
    r, u, p, c = point.shape
    gradient, curvature = torch.zeros_like(point), point.new_zeros(r, u * p * p, c * c)
    for part in rows:
        x = design[:, part]
        slope, bend = _slopes(_numbers(point, x), part, value)
        gradient = gradient + (slope.flatten(2).mT @ x).view(r, u, p, c)
        curvature = curvature + bend.flatten(2).mT @ (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(2)
    gradient[..., 1:] = gradient[..., 1:] - penalty * point[..., 1:]
    hessian = curvature.view(r, u, p, p, c, c).permute(0, 1, 2, 4, 3, 5).reshape(r, u, p * c, p * c)
    ridge = point.new_full((p, c), penalty)
    ridge[:, 0] = 0.0
    size, axes = torch.linalg.eigh(torch.diag(ridge.flatten()) - 0.5 * (hessian + hessian.mT))
    least = 1e-10 * size.abs().amax(-1, keepdim=True) + 1e-30
    along = axes.mT @ gradient.view(r, u, p * c, 1)
    curved = size.abs() > least  # along the others nothing is told
    found = (axes @ torch.where(curved, along.squeeze(-1) / size.abs().maximum(least), 0.0).unsqueeze(-1)).squeeze(-1)
    found = found * (_LONGEST / found.abs().amax(-1, keepdim=True).clamp(min=_LONGEST))
    return found.view(r, u, p, c)


def _slopes(numbers: Tensor, rows: Tensor, value: Value) -> tuple[Tensor, Tensor]:
    """(R, n, U, P) and (R, n, U, P, P) first and second derivatives of the value of each row by its numbers."""
    with torch.enable_grad():
        here = numbers.detach().requires_grad_()
        (slope,) = torch.autograd.grad(value(here, rows).sum(), here, create_graph=True)
        bends = [torch.autograd.grad(slope[..., i].sum(), here, retain_graph=True)[0] for i in range(numbers.shape[-1])]
    return slope.detach().nan_to_num(0.0, 0.0, 0.0), torch.stack(bends, -2).detach().nan_to_num(0.0, 0.0, 0.0)


def resolved(kind: str, choice: Any) -> Any:
    """The law whose numbers a head moves, without values of its own. Raises ``ValueError`` for one that has some."""
    law = resolve(kind, choice, inside="contextual")
    if law.parameters or law.uses_covariates:
        raise ValueError(
            f"family is a {law.name} {kind} that {'depends on context itself' if law.uses_covariates else 'has values'}"
            "; give its name, or its options alone."
        )
    return law
