"""Stays that end more readily, or less, the longer they have lasted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hsmm.components.duration.parametric import Parametric
from hsmm.types import StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Weibull(Parametric):
    """The density of a Weibull law at whole numbers, normalised. ``shape`` is (log-mean, log a) of that law.

    a = 1 is geometric; with a smaller a, a stay is the less likely to end the longer it has lasted (its tail is heavier
    than geometric), with a larger one the more likely. Discretised as the gamma and log-normal laws are.
    """

    name: ClassVar[str] = "weibull"
    shape_bounds: ClassVar = ((-9.0, 12.0), (-2.0, 3.0))
    form_spread: ClassVar[float] = 1.0

    def log_pmf(self, durations: Tensor, shape: Tensor) -> Tensor:
        log_mean, a = shape[..., :1], shape[..., 1:].exp()
        log_scale = log_mean - torch.lgamma(1.0 + 1.0 / a)
        logs = durations.log()
        return (a - 1.0) * logs - (a * (logs - log_scale)).exp()

    def natural(self) -> dict[str, Tensor]:
        """``location``: mean of the density; ``a``: its shape."""
        return dict(zip(("location", "a"), self.parameters["shape"].exp().unbind(-1), strict=True))

    def shape_for(self, mean_dwell: StateVector) -> Tensor:
        return torch.stack([mean_dwell.log(), torch.full_like(mean_dwell, 0.3)], -1)
