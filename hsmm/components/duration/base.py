"""What every law of segment durations shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.register import KINDS
from hsmm.numerics import log_one_minus_exp, surely_none
from hsmm.potentials import equilibrium_residual
from hsmm.sequences import Sequences
from hsmm.types import DurationTable, DurationTablePerSeries, DurationTableSeries, StateVector


@dataclass(frozen=True, eq=False)
class DurationTables:
    """``log_duration`` (R, K, D), by row (R, N, K, D), and where its last column is a tail slot ``log_tail`` (R, K)."""

    log_duration: DurationTable | DurationTableSeries
    log_tail: StateVector | None = None

    def mean(self) -> StateVector:
        """(R, K) expected duration in steps, what lies in the tail slot included."""
        return self._expected(1)

    def deviation(self) -> StateVector:
        """(R, K) standard deviation of the duration in steps, what lies in the tail slot included."""
        return (self._expected(2) - self.mean().square()).clamp(min=0.0).sqrt()

    def _expected(self, power: Literal[1, 2]) -> StateVector:
        """E[d] or E[d²]: of a segment in the tail slot, the steps beyond its first are geometric."""
        table = self.log_duration.exp()
        steps = torch.arange(1, table.shape[-1] + 1, dtype=table.dtype, device=table.device)
        value = (table * steps**power).sum(-1)
        if self.log_tail is None:
            return value
        more = self.log_tail.exp() / -torch.expm1(self.log_tail)
        beyond = more if power == 1 else 2.0 * steps[-1] * more + more * (1.0 + 2.0 * more)
        return value + table[..., -1] * beyond


@dataclass(frozen=True, eq=False)
class DurationCounts:
    """Expected counts in the shapes of :class:`DurationTables`: segments, first residuals, steps in the tail slot."""

    duration: DurationTable | DurationTableSeries
    residual: DurationTable | DurationTablePerSeries
    tail_stay: StateVector
    tail_leave: StateVector

    @property
    def has_residual(self) -> bool:
        """Whether first segments were seen from some moment on, as far as the host can tell at once."""
        return not surely_none(self.residual > 0)


class UncensoredCounts(DurationCounts):
    """Those of series that begin with a segment."""

    @property
    def has_residual(self) -> bool:
        return False


def expected_log_likelihood(tables: DurationTables, counts: DurationCounts, min_duration: int) -> StateVector:
    """(R, K) expected complete-data log-likelihood of these counts."""
    value = (usable(counts.duration, min_duration) * usable(tables.log_duration, min_duration)).sum(-1)
    if tables.log_tail is not None:
        value = value + counts.tail_stay * tables.log_tail
        value = value + counts.tail_leave * log_one_minus_exp(tables.log_tail)
    if counts.has_residual:
        value = value + (counts.residual * equilibrium_residual(tables.log_duration, tables.log_tail)).sum(-1)
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Duration(Component):
    """Law of the steps a segment lasts, on ``min_duration``, …, ``max_duration`` and, with a tail, beyond.

    ``max_duration`` and ``min_duration`` are set by the model. With a tail the table has an extra last column, the
    tail slot P(d > max_duration).
    """

    kind: ClassVar[str] = "duration"

    max_duration: int = 1
    min_duration: int = 1

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:
            setattr(cls, "__repr__", Duration.__repr__)  # noqa: B010 - `dataclass` would write one that says all

    def __repr__(self) -> str:
        """Its options; of those that the model sets, the ones that it has set."""
        shown = [f.name for f in fields(self) if f.repr]
        unset = [name for name in ("max_duration", "min_duration") if getattr(self, name) == 1]
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown if name not in unset)
        return f"{type(self).__name__}({options})"

    def __post_init__(self) -> None:
        if not 1 <= self.min_duration <= self.max_duration:
            raise ValueError(
                f"min_duration is {self.min_duration} and max_duration {self.max_duration}; "
                "expected 1 <= min_duration <= max_duration. Of a model, set them on the model alone."
            )

    @property
    @abstractmethod
    def has_tail(self) -> bool: ...

    @abstractmethod
    def log_potentials(self, sequences: Sequences | None = None) -> DurationTables: ...

    @abstractmethod
    def initialise(self, mean_dwell: StateVector) -> Self:
        """Parameters that give about these mean durations (R, K) in steps."""

    @abstractmethod
    def maximise(self, sequences: Sequences, counts: DurationCounts, held: Collection[str] = ()) -> Self: ...

    def probability(self) -> DurationTable:
        """(R, K, max_duration) P(d = column); with a tail the last column is P(d >= max_duration)."""
        table = self.log_potentials().log_duration.exp()
        if self.has_tail:
            return torch.cat([table[..., :-2], table[..., -2:].sum(-1, keepdim=True)], -1)
        return table

    def natural(self) -> dict[str, Tensor]:
        """(R, K, …) the parameters by the names they have in books, beside the mean duration."""
        return dict(self.parameters)

    def mean(self) -> StateVector:
        """(R, K) expected duration in steps, what lies beyond ``max_duration`` included."""
        return self.log_potentials().mean()

    def deviation(self) -> StateVector:
        """(R, K) standard deviation of the duration in steps, what lies beyond ``max_duration`` included."""
        return self.log_potentials().deviation()

    def resized(self, max_duration: int) -> Self:
        """The same law with a table of another length."""
        return replace(self, max_duration=max_duration)


DURATIONS: dict[str, type[Duration]] = KINDS["duration"].families


def usable(table: Tensor, min_duration: int) -> Tensor:
    """Columns of durations that ``min_duration`` allows."""
    return table[..., min_duration - 1 :]


def from_usable(table: Tensor, min_duration: int, fill: float) -> Tensor:
    """Put back the columns that :func:`usable` cut."""
    return torch.nn.functional.pad(table, (min_duration - 1, 0), value=fill)
