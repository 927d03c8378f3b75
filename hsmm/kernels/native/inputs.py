"""Potentials as the library takes them: linear or logarithmic tables, and series sorted into lanes."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import torch
from torch import Tensor

from hsmm.kernels.native.structures import Problem
from hsmm.native import library
from hsmm.numerics import log_one_minus_exp, log_survival
from hsmm.potentials import Potentials, equilibrium_residual

_WASTE = 1.25  # idle lanes worth having so that a lane group shares one restart's tables


class Arguments:
    """A ``Problem`` and the tensors it points into, which must live as long as it."""

    def __init__(self, p: Potentials, *, logarithmic: bool = False) -> None:
        self._kept: list[Tensor] = []
        lanes = _lanes(p)
        log_tables = _log_tables(p)
        tables = log_tables if logarithmic else _linear(log_tables)
        pointers = {name: self.point(table) for name, table in tables.items()}
        self.problem = Problem(
            n_restarts=p.n_restarts,
            n_series=p.n_series,
            n_rows=p.n_rows,
            n_states=p.n_states,
            n_durations=p.n_durations,
            emission=self.point(p.log_emission),
            offsets=self.point(p.offsets),
            left_censored=self.point(p.censored("left").to(torch.uint8)),
            right_censored=self.point(p.censored("right").to(torch.uint8)),
            fragile=self.point(_fragile(log_tables)),
            lanes=self.point(lanes),
            n_groups=lanes.shape[0],
            n_threads=torch.get_num_threads(),
            **pointers,
        )

    def point(self, x: Tensor | None) -> int | None:
        if x is None:
            return None
        self._kept.append(x.detach().contiguous())
        return self._kept[-1].data_ptr()

    def run(self, function: str, out: ctypes.Structure) -> None:
        library.call(function, self.problem, out)


def in_float64(p: Potentials) -> Potentials:
    return replace(p, **{name: table.double() for name, table in p.tables().items()})


def with_segments(p: Potentials) -> Potentials:
    """An HMM as segments of one step; anything else as it is."""
    if p.log_duration is not None:
        return p
    one_step = p.log_initial.new_zeros(p.n_restarts, p.n_states, 1)
    return replace(p, log_duration=one_step, left_censored=False, right_censored=False)


def first_law(p: Potentials) -> Tensor | None:
    """(R, K, D) law of the steps left to a left-censored first segment, where there may be one."""
    if p.log_duration is None or not bool(p.censored("left").any()):
        return None
    return equilibrium_residual(p.log_duration, p.log_tail) if p.log_residual is None else p.log_residual


def survivals(p: Potentials) -> tuple[Tensor, Tensor | None]:
    """Log P(d >= n) of the duration table and of the first segment's law."""
    assert p.log_duration is not None
    law = first_law(p)
    return log_survival(p.log_duration), None if law is None else log_survival(law)


def alone(p: Potentials, restart: int, series: Tensor) -> Potentials:
    """One model over some of the series."""
    rows = rows_of(p, series)
    flags = {f"{side}_censored": p.censored(side)[series].clone() for side in ("left", "right")}
    tables = {name: table[restart : restart + 1] for name, table in p.tables().items()}
    tables["log_emission"] = tables["log_emission"][:, rows]
    offsets = torch.cat([p.offsets.new_zeros(1), p.lengths[series].cumsum(0)])
    return replace(p, **tables, offsets=offsets, **flags)


def rows_of(p: Potentials, series: Tensor) -> Tensor:
    return torch.cat([torch.arange(int(p.offsets[s]), int(p.offsets[s + 1])) for s in series.tolist()])


def _log_tables(p: Potentials) -> dict[str, Tensor | None]:
    leave = None if p.log_tail is None else log_one_minus_exp(p.log_tail)
    return {
        "initial": p.log_initial,
        "transition": p.log_transition,
        "duration": p.log_duration,
        "residual": first_law(p),
        "tail_stay": p.log_tail,
        "tail_leave": leave,
    }


def _linear(log_tables: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
    linear = {name: None if table is None else table.contiguous().exp() for name, table in log_tables.items()}
    if (stay := log_tables["tail_stay"]) is not None:
        linear["tail_leave"] = -torch.expm1(stay)
    return linear


def _fragile(log_tables: dict[str, Tensor | None]) -> Tensor:
    """(R,) whether some entry is positive but too small for its type."""
    flags = [
        (table.isfinite() & (table.exp() < torch.finfo(table.dtype).tiny)).flatten(1).any(1)
        for table in log_tables.values()
        if table is not None
    ]
    return torch.stack(flags).any(0).to(torch.uint8)


def _lanes(p: Potentials) -> Tensor:
    """(groups, width) restart * S + series, longest series first, -1 where a lane stays empty.

    The order of the series within a restart is the same whichever way the groups are cut.
    """
    width = library.lane_width(p.log_emission.element_size())
    n_restarts, n_series = p.n_restarts, p.n_series
    by_length = p.lengths.argsort(descending=True, stable=True)
    first_of_restart = n_series * torch.arange(n_restarts)
    if -(-n_series // width) * width <= _WASTE * n_series:
        pairs = first_of_restart[:, None] + by_length
    else:
        pairs = (by_length[:, None] + first_of_restart).reshape(1, -1)
    idle = -pairs.shape[1] % width
    return torch.nn.functional.pad(pairs, (0, idle), value=-1).reshape(-1, width)
