"""What the laws of single columns share whose parameters are positive numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.ascent import choose_entries, longest_step
from hsmm.components.base import Constraint, as_parameter
from hsmm.components.emission.columnwise import Column, Columnwise
from hsmm.numerics import surely_none

_TINY = 1e-300
_NEWTON_STEPS = 3
_STEP_SIZES = (1.0, 0.25, 0.05, 0.005)
_ROUNDING = 1e-13


@dataclass(frozen=True, kw_only=True, eq=False)
class Positive(Columnwise):
    """Parameters (R, K, F), all positive and within bounds; those that are known, and ``maybe_zero``, may be 0."""

    maybe_zero: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def _given(cls, hyperparameters: Mapping[str, Any], **parameters: Any) -> Self:
        made = cls(parameters={x: as_parameter(v, x, (2,)) for x, v in parameters.items()}, **hyperparameters)
        made.check()
        return made

    def check(self) -> None:
        shapes = {name: tuple(value.shape[1:]) for name, value in self.parameters.items()}
        if len(set(shapes.values())) > 1 or any(v.ndim != 3 or 0 in v.shape for v in self.parameters.values()):
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"parameters have shapes {found}; expected (K, F).")
        for name, value in self.parameters.items():
            least = name in self.maybe_zero
            if not bool(((value >= 0) if least else (value > 0)).all()):
                expected = "numbers >= 0" if least else "positive numbers"
                raise ValueError(f"{name} holds {float(value.min()):g}; expected {expected}.")

    def constraints(self) -> Mapping[str, Constraint]:
        return dict.fromkeys(self.state_axes, "positive")

    def with_free(self, coordinates: Mapping[str, Tensor]) -> Self:
        made = super().with_free(coordinates)
        bounded = [name for name in coordinates if name in self.bounds()]
        return made.with_parameters(**{x: self.within_bounds(x, made.parameters[x]) for x in bounded})

    def n_parameters(self) -> int:
        return sum(value[0].numel() for value in self.parameters.values())


def weighted_sums(columns: list[Column], statistic: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """(R, K, F) Σ weight · statistic(value); Σ weight without one."""
    sums = [c.weight.sum(-1) if statistic is None else c.weight @ statistic(c.values) for c in columns]
    return torch.stack(sums, -1)


def averages(total: Tensor, weight: Tensor, fallback: Tensor) -> Tensor:
    """total / weight, the fallback where there is no weight."""
    return torch.where(weight > 0, total / weight.clamp(min=_TINY), fallback)


def ascended(
    start: Tensor,
    value: Callable[[Tensor], Tensor],
    slopes: Callable[[Tensor], tuple[Tensor, Tensor]],
    bounds: tuple[float, float],
) -> Tensor:
    """Positive parameters after a few guarded Newton steps on their logarithm; each climbs alone, never downhill
    by more than rounding, which must not decide whether the last step is taken.

    ``slopes`` are the first and second derivatives of ``value`` by the parameter itself.
    """
    point, reached = start, value(start)
    for _ in range(_NEWTON_STEPS):
        first, second = slopes(point)
        gradient, curvature = point * first, point**2 * second + point * first
        newton = -gradient / curvature.clamp(max=-_TINY)
        step = torch.where(curvature < 0, newton, 2.0 * gradient.sign()).nan_to_num(0.0).clamp(-2.0, 2.0)
        point, reached, moved = longest_step(
            point, reached, partial(_scaled, point, step, bounds), value, _STEP_SIZES, choose_entries, _ROUNDING
        )
        if surely_none(moved):
            break
    return point


def _scaled(point: Tensor, step: Tensor, bounds: tuple[float, float], size: float) -> Tensor:
    return (point * (size * step).exp()).clamp(*bounds)
