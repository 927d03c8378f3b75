"""Durations that depend on what is known where a segment begins."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.duration import native
from hsmm.components.duration.base import Duration, DurationCounts, DurationTables, from_usable, usable
from hsmm.components.duration.categorical import Categorical
from hsmm.components.duration.parametric import Parametric
from hsmm.components.head import LARGEST_SLOPE, LinearHead, newton_step, resolved, with_constant
from hsmm.components.logistic import centred
from hsmm.components.logistic import newton_step as multinomial_step
from hsmm.numerics import log_one_minus_exp
from hsmm.potentials import equilibrium_residual
from hsmm.sequences import Sequences
from hsmm.types import StateVector

_LEAST = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Contextual(LinearHead, Duration):
    """A ``family`` whose numbers are linear in the context of the row that a segment begins with.

    Of a parametric family these are its ``shape`` (P of them, such as log-mean and log r), each within the family's
    bounds; of the categorical one the logits of all durations, which sum to 0. The tail slot holds P(d > max_duration)
    of that row; within it a segment goes on as it does at the mean context. See
    :class:`~hsmm.components.head.LinearHead` for ``penalty``, and ``bias`` (R, K, P), ``coef`` (R, K, P, C). Without a
    context to be read, tables, means and all that is shown are those at the mean context.
    """

    name: ClassVar[str] = "contextual"
    state_axes: ClassVar = {"bias": (1,), "coef": (1,), "centre": (), "spread": ()}

    family: str | Duration = "negative_binomial"

    def __post_init__(self) -> None:
        Duration.__post_init__(self)
        LinearHead.__post_init__(self)
        if not isinstance(resolved("duration", self.family), (Parametric, Categorical)):
            raise ValueError(f"family is {self.family!r}; expected the categorical or a parametric one.")

    @classmethod
    def from_parameters(cls, bias: Any, coef: Any, **hyperparameters: Any) -> Self:
        """``bias`` (K, P) of the family's numbers where the context is 0, ``coef`` (K, P, C) by a unit of it."""
        values = [np.asarray(x, dtype=np.float64) for x in (bias, coef)]
        if values[0].ndim != 2 or values[1].shape[:-1] != values[0].shape or not values[1].shape[-1]:
            raise ValueError(
                f"bias has shape {values[0].shape} and coef {values[1].shape}; expected (n_states, n_numbers) and "
                "(n_states, n_numbers, n_columns)."
            )
        if not all(np.isfinite(x).all() for x in values):
            raise ValueError("bias or coef holds NaN or infinite values.")
        tables = {name: torch.from_numpy(x.copy())[None] for name, x in zip(("bias", "coef"), values, strict=True)}
        centre = tables["bias"].new_zeros(1, values[1].shape[-1])
        made = cls(parameters={**tables, "centre": centre, "spread": torch.ones_like(centre)}, **hyperparameters)
        made.check()
        return made.at(made.tamed(made.point()))

    @property
    def has_tail(self) -> bool:
        return self._law.has_tail

    @property
    def coef_(self) -> np.ndarray:
        """(K, P, C) change of each number of the family by one unit of the context."""
        spread, coef = (torch.from_numpy(self.fitted(name)) for name in ("spread", "coef"))
        return torch.where(spread > 0, coef / spread, 0.0).numpy()

    @property
    def intercept_(self) -> np.ndarray:
        """(K, P) the numbers of the family where the context is 0."""
        return self.fitted("bias") - (self.coef_ * self.fitted("centre")).sum(-1)

    def mean_at(self, context: Any) -> np.ndarray:
        """(N, K) expected durations of segments that begin at rows with this context (N, C), in steps."""
        found = np.atleast_2d(np.array(context, dtype=np.float64))
        expected = self.fitted("centre").shape[0]
        if found.shape[1] != expected or not np.isfinite(found).all():
            raise ValueError(f"context has shape {found.shape}; expected (n, {expected}) finite numbers.")
        beside = Sequences(torch.zeros(len(found), 1), torch.zeros(len(found), 1).bool(), torch.tensor([0, len(found)]))
        tables = replace(self, columns=None).log_potentials(replace(beside, covariates=torch.from_numpy(found)))
        tail = None if tables.log_tail is None else tables.log_tail.unsqueeze(1)
        return DurationTables(tables.log_duration, tail).mean()[0].numpy()

    def natural(self) -> dict[str, Tensor]:
        law = self._law
        return law.with_parameters(shape=self.parameters["bias"]).natural() if isinstance(law, Parametric) else {}

    def resized(self, max_duration: int) -> Self:
        if isinstance(self._law, Parametric) or not self.parameters or max_duration == self.max_duration:
            return replace(self, max_duration=max_duration)
        more = max_duration - self.max_duration
        lowest = self.parameters["bias"].amin(-1, keepdim=True)
        bias = torch.cat([self.parameters["bias"], lowest.expand(-1, -1, max(more, 0))], -1)[..., :max_duration]
        coef = torch.nn.functional.pad(self.parameters["coef"], (0, 0, 0, max(more, 0)))[..., :max_duration, :]
        made = replace(self, max_duration=max_duration, parameters={**self.parameters, "bias": bias, "coef": coef})
        return made.at(made.tamed(made.point()))

    def log_potentials(self, sequences: Sequences | None = None) -> DurationTables:
        """(R, N, K, D), row n for a segment that begins there; without series (R, K, D), at the mean context."""
        typical = self._tables(self.tamed(self.parameters["bias"].unsqueeze(-1))[..., 0])
        if sequences is None:
            return typical
        numbers = self._within(self.numbers(self.standard(sequences)))
        r, n, k, p = numbers.shape
        table = self._tables(numbers.reshape(r * n, k, p)).log_duration
        return DurationTables(table.view(r, n, k, -1), typical.log_tail)

    def initialise(self, mean_dwell: StateVector) -> Self:
        law = self._law.initialise(mean_dwell)
        if isinstance(law, Parametric):
            return self.with_parameters(bias=law.parameters["shape"])
        logits = law.parameters["probability"].clamp(min=_LEAST).log().unsqueeze(-1)
        return self.with_parameters(bias=self.tamed(logits)[..., 0])

    def maximise(self, sequences: Sequences, counts: DurationCounts, held: Collection[str] = ()) -> Self:
        """A damped Newton step for the expected segments by the row they begin at (R, N, K, D), never downhill."""
        context = self.standard(sequences)
        residual = counts.residual if counts.has_residual else None
        if isinstance(self._law, Categorical) and residual is None:
            return self._multinomial_step(with_constant(context), counts)
        design = with_constant(torch.cat([context, torch.zeros_like(context[:, :1])], 1))
        first = sequences.offsets[:-1]

        def value(numbers: Tensor, rows: Tensor) -> Tensor:
            """(R, n, K); the last row is the mean context, which only the time within the tail slot reads."""
            return self._expected(numbers, rows, counts, residual, first)

        cells = len(context) * self.parameters["bias"].shape[1] * (self.max_duration + max(self.max_duration, 64))
        at_once = 0 if residual is not None else cells  # a first segment reads its own row and the mean context
        return self.at(newton_step(self.point(), design, value, self.penalty, self.tamed, at_once))

    def tamed(self, point: Tensor) -> Tensor:
        law = self._law
        if isinstance(law, Categorical):
            return centred(point, self._possible(point)).clamp(-LARGEST_SLOPE, LARGEST_SLOPE)
        low, high = (point.new_tensor(edge) for edge in zip(*law.shape_bounds, strict=True))  # type: ignore[attr-defined]
        bias = point[..., 0].clamp(low, high).unsqueeze(-1)
        return torch.cat([bias, point[..., 1:].clamp(-LARGEST_SLOPE, LARGEST_SLOPE)], -1)

    def n_parameters(self) -> int:
        _, n_states, n_numbers = self.parameters["bias"].shape
        if isinstance(self._law, Categorical):
            n_numbers = self.max_duration - self.min_duration
        elif not self.has_tail:
            n_numbers = min(n_numbers, self.max_duration - self.min_duration)
        return n_states * n_numbers * (1 + self.n_slopes())

    def check(self) -> None:
        law, bias = self._law, self.parameters["bias"]
        wanted = len(law.shape_bounds) if isinstance(law, Parametric) else self.max_duration
        if bias.ndim != 3 or bias.shape[-1] != wanted:
            found = tuple(bias.shape[1:])
            raise ValueError(f"contextual {law.name} durations have a bias of {found}; expected (K, {wanted}).")
        self.check_head(tuple(bias.shape[1:]))

    @cached_property
    def _law(self) -> Duration:
        law = resolved("duration", self.family)
        return replace(law, max_duration=self.max_duration, min_duration=self.min_duration)

    def _possible(self, point: Tensor) -> Tensor:
        """(K, D) durations that ``min_duration`` allows."""
        steps = torch.arange(point.shape[-2], device=point.device) >= self.min_duration - 1
        return steps.expand(point.shape[-3], -1)

    def _within(self, numbers: Tensor) -> Tensor:
        """Numbers of single rows within the family's bounds."""
        if isinstance(self._law, Categorical):
            return numbers
        low, high = (numbers.new_tensor(edge) for edge in zip(*self._law.shape_bounds, strict=True))  # type: ignore[attr-defined]
        return numbers.clamp(low, high)

    def _tables(self, numbers: Tensor) -> DurationTables:
        """Of numbers (B, K, P), each row a law of its own."""
        law = self._law
        if isinstance(law, Categorical):
            logits = usable(numbers, self.min_duration)
            return DurationTables(from_usable(logits.log_softmax(-1), self.min_duration, -torch.inf))
        assert isinstance(law, Parametric)
        if native.supports(law.name, numbers):
            return law._law().tables(numbers)
        return law._tables(numbers)

    def _multinomial_step(self, design: Tensor, counts: DurationCounts) -> Self:
        point = self.point()
        possible = self._possible(point)
        others = possible.clone()
        others[:, self.min_duration - 1] = False
        relative = point - point[..., self.min_duration - 1 : self.min_duration, :]
        seen = counts.duration.permute(0, 2, 3, 1).contiguous()
        found = multinomial_step(relative, design, seen, possible, others, self.penalty, 1e3)
        return self.at(self.tamed(found))

    def _expected(
        self, numbers: Tensor, rows: Tensor, counts: DurationCounts, residual: Tensor | None, first: Tensor
    ) -> Tensor:
        r, n, k, p = numbers.shape
        n_rows = counts.duration.shape[1]
        whole = self._reference_tables(self._within(numbers).reshape(r * n, k, p))
        table = whole.log_duration.view(r, n, k, -1)
        inside = rows < n_rows
        seen = usable(counts.duration[:, rows[inside]], self.min_duration)
        value = (seen * usable(table[:, inside], self.min_duration)).sum(-1)
        stay, last = None, table.new_zeros(r, n - int(inside.sum()), k)
        if whole.log_tail is not None and last.shape[1]:
            stay = whole.log_tail.view(r, n, k)[:, -1:]
            last = counts.tail_stay.unsqueeze(1) * stay + counts.tail_leave.unsqueeze(1) * log_one_minus_exp(stay)
        if residual is None:
            return torch.cat([value, last], 1)
        law = equilibrium_residual(table[:, first], stay)
        law = torch.where(residual > 0, residual * law, 0.0).sum(-1)
        return torch.cat([value.index_add(1, first, law), last], 1)

    def _reference_tables(self, numbers: Tensor) -> DurationTables:
        return self._law._tables(numbers) if isinstance(self._law, Parametric) else self._tables(numbers)
