"""A free probability for every duration."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter, check_concentration, check_distribution, dirichlet_mode
from hsmm.components.duration.base import Duration, DurationCounts, DurationTables, from_usable, usable
from hsmm.numerics import log_survival
from hsmm.sequences import Sequences
from hsmm.types import StateVector


@dataclass(frozen=True, kw_only=True, eq=False)
class Categorical(Duration):
    """Parameter ``probability`` (R, K, D), rows with a Dirichlet prior (1: none); ends at ``max_duration``."""

    name: ClassVar[str] = "categorical"
    state_axes: ClassVar = {"probability": (1,)}
    concentration: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_concentration(self.concentration)

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        value = as_parameter(probability, "duration_prob", (2,))
        check_distribution(value.numpy(), "duration_prob")
        return cls(parameters={"probability": value}, max_duration=value.shape[-1], **hyperparameters)

    @property
    def has_tail(self) -> bool:
        return False

    def resized(self, max_duration: int) -> Self:
        """The same probabilities, durations beyond the old table impossible and those beyond the new one left out."""
        table = {name: _cut_or_padded(value, max_duration) for name, value in self.parameters.items()}
        return replace(self, max_duration=max_duration, parameters=table)

    def log_potentials(self, sequences: Sequences | None = None) -> DurationTables:
        return DurationTables(self.parameters["probability"].log())

    def initialise(self, mean_dwell: StateVector) -> Self:
        steps = torch.arange(self.max_duration - self.min_duration + 1, dtype=torch.float64)
        rate = 1.0 / (mean_dwell - self.min_duration + 1.0).clamp(min=1.0)
        geometric = torch.exp(steps * torch.log1p(-rate.clamp(max=1 - 1e-9))[..., None])
        mixed = 0.9 * geometric / geometric.sum(-1, keepdim=True) + 0.1 / len(steps)
        return self.with_parameters(probability=from_usable(mixed, self.min_duration, 0.0))

    def maximise(self, sequences: Sequences, counts: DurationCounts, held: Collection[str] = ()) -> Self:
        old = self.parameters["probability"]
        if counts.has_residual:
            return self.with_parameters(probability=self._with_residuals(counts, old))
        allowed = torch.zeros_like(old, dtype=torch.bool)
        allowed[..., self.min_duration - 1 :] = True
        return self.with_parameters(probability=dirichlet_mode(counts.duration, self.concentration, old, allowed))

    def _with_residuals(self, counts: DurationCounts, old: Tensor) -> Tensor:
        """Best rows when first segments are seen only from a random moment on (Vardi 1989): docs/maths/durations.md."""
        residual = _full_durations(counts.residual, old)
        whole = usable(counts.duration + residual + (self.concentration - 1.0), self.min_duration)
        biased = counts.residual.sum(-1, keepdim=True)
        steps = torch.arange(self.min_duration, self.max_duration + 1, dtype=old.dtype, device=old.device)
        total = whole.sum(-1, keepdim=True)
        low = torch.full_like(total, float(self.min_duration))
        high = torch.full_like(total, float(self.max_duration))
        for _ in range(100):
            mean = 0.5 * (low + high)
            mass = (whole / (total - biased + biased * steps / mean)).nan_to_num(0.0).sum(-1, keepdim=True)
            low, high = torch.where(mass < 1.0, mean, low), torch.where(mass < 1.0, high, mean)
        found = (whole / (total - biased + biased * steps / mean)).nan_to_num(0.0)
        found = found / found.sum(-1, keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)
        kept = torch.where(total > 0, found, usable(old, self.min_duration))
        return from_usable(kept, self.min_duration, 0.0)

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def log_prior(self) -> Tensor:
        cells = usable(self.parameters["probability"], self.min_duration)
        return torch.xlogy(self.concentration - 1.0, cells).sum((-1, -2))

    def n_parameters(self) -> int:
        _, n_states, _ = self.parameters["probability"].shape
        return n_states * (self.max_duration - self.min_duration)


def _cut_or_padded(probability: Tensor, n_columns: int) -> Tensor:
    if n_columns >= probability.shape[-1]:
        return torch.nn.functional.pad(probability, (0, n_columns - probability.shape[-1]))
    kept = probability[..., :n_columns]
    return kept / kept.sum(-1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)


def _full_durations(residual: Tensor, probability: Tensor) -> Tensor:
    """Expected full durations behind these residual counts: Σ_{r<=d} N(r) p(d) / P(d >= r)."""
    survival = log_survival(probability.log()).exp()
    rate = torch.where(residual > 0, residual / survival, 0.0)
    return probability * rate.cumsum(-1)
