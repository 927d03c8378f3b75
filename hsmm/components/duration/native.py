"""Parametric laws in C++, on the CPU: their tables, and their maximisers by derivatives in closed form."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.components.duration.base import DurationCounts, DurationTables
from hsmm.native import interface
from hsmm.native.library import available, call

_FAMILIES = ("geometric", "poisson", "negative_binomial", "gamma", "log_normal")  # by number in durations.hpp
_CELLS_A_THREAD = 1 << 14


def supports(family: str, shape: Tensor) -> bool:
    """Whether the library is there and knows the family, and nobody asks for derivatives."""
    fits = shape.device.type == "cpu" and shape.dtype == torch.float64
    return family in _FAMILIES and fits and not shape.requires_grad and available()


@dataclass(frozen=True)
class Law:
    """A family with ``bounds`` of its parameters, on ``min_duration`` to ``max_duration`` and, with a tail, beyond."""

    family: str
    min_duration: int
    max_duration: int
    tail: bool
    bounds: tuple[tuple[float, float], ...]

    def maximised(self, shape: Tensor, counts: DurationCounts) -> Tensor:
        """(R, K, P) the parameters that maximise the expected log-likelihood of the counts, uphill from ``shape``.

        A state's have the same bits whatever else is in the batch.
        """
        found = shape.clone(memory_format=torch.contiguous_format)
        given = [counts.duration, counts.residual, counts.tail_stay, counts.tail_leave]
        segments, residual, stay, leave = (x.to(found).contiguous() for x in given)
        low, high = (shape.new_tensor(edge) for edge in zip(*self.bounds, strict=True))
        of_states = interface.DurationCounts(
            segments=segments.data_ptr(),
            residual=residual.data_ptr() if counts.has_residual else None,
            tail_stay=stay.data_ptr(),
            tail_leave=leave.data_ptr(),
            parameters=found.data_ptr(),
            **self._sizes(shape),
        )
        call("hsmm_maximise_durations", self._law(low, high), of_states)
        return found

    def tables(self, shape: Tensor) -> DurationTables:
        shape = shape.contiguous()
        log_duration = shape.new_empty(*shape.shape[:2], self.max_duration + self.tail)
        log_tail = shape.new_empty(shape.shape[:2]) if self.tail else None
        table = interface.DurationTable(
            parameters=shape.data_ptr(),
            log_duration=log_duration.data_ptr(),
            log_tail=None if log_tail is None else log_tail.data_ptr(),
            **self._sizes(shape),
        )
        call("hsmm_duration_tables", self._law(), table)
        return DurationTables(log_duration, log_tail)

    def _law(self, low: Tensor | None = None, high: Tensor | None = None) -> ctypes.Structure:
        return interface.DurationLaw(
            family=_FAMILIES.index(self.family),
            min_duration=self.min_duration,
            max_duration=self.max_duration,
            has_tail=self.tail,
            low=None if low is None else low.data_ptr(),
            high=None if high is None else high.data_ptr(),
        )

    def _sizes(self, shape: Tensor) -> dict[str, int]:
        n_states = shape.shape[0] * shape.shape[1]
        cells = n_states * self.max_duration
        return {"n_states": n_states, "n_threads": min(torch.get_num_threads(), 1 + cells // _CELLS_A_THREAD)}
