"""Potentials as the library takes them: linear or logarithmic tables, and the (restart, series) pairs to work on."""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from hsmm.native import library
from hsmm.native.interface import Exponentials, Problem
from hsmm.numerics import log_one_minus_exp
from hsmm.potentials import Potentials

Tables = dict[str, Tensor | None]

# Times Limits::faint, in lanes.hpp, this is within the range of the type; Limits::least_entry is the same.
_LEAST_ENTRY = {torch.float32: 1e-25, torch.float64: 1e-200}
_WASTE = 1.25  # idle lanes worth having so that a lane group shares one restart's tables


class Arguments:
    """A ``Problem`` and what it points into, which must live as long as it."""

    def __init__(self, p: Potentials, lanes: Tensor, *, logarithmic: bool) -> None:
        self._kept: list[object] = []
        log_tables = _log_tables(p)
        by_row = tables_by_row(p)
        of_all_rows = {name: table for name, table in log_tables.items() if name not in by_row}
        shared = {"transition": p.transition_of_row, "duration": p.duration_of_row}
        of_one = {name: table for name, table in of_all_rows.items() if shared.get(name) is None}
        linear = {} if logarithmic else _linear(of_one)
        raised = _raised(linear, of_one)
        fragile = None if logarithmic else _fragile(p, of_one)
        for name, of_row in shared.items():
            table = log_tables[name]
            if fragile is None or of_row is None or table is None:
                continue
            linear[name], raised[name], of_tables = _exponentials(table)
            fragile = torch.maximum(fragile, most_by_series(p, of_tables, of_row))
        pointers = {name: self.point(table) for name, table in (log_tables | linear).items()}
        bounds = {name: self.point(table) for name, table in raised.items()}
        pointers |= {f"{name}_bound": bounds.get(name, pointers[name]) for name in log_tables}
        self.problem = Problem(
            n_restarts=p.n_restarts,
            n_series=p.n_series,
            n_rows=p.n_rows,
            n_states=p.n_states,
            n_durations=p.n_durations,
            emission=self.point(p.log_emission),
            offsets=self.point(p.offsets),
            owners=self.point(p.owners),
            left_censored=self.point(p.censored("left")),
            right_censored=self.point(p.censored("right")),
            fragile=self.point(fragile),
            lanes=self.point(lanes),
            n_groups=lanes.shape[0],
            n_threads=torch.get_num_threads(),
            transition_by_row="transition" in by_row,
            duration_by_row="duration" in by_row,
            residual_by_series=_has_many(log_tables["residual"]),
            n_transitions=_n_tables(p.log_transition),
            n_laws=_n_tables(p.log_duration),
            transition_of_row=self.point(p.transition_of_row),
            duration_of_row=self.point(p.duration_of_row),
            **pointers,
        )

    def point(self, x: Tensor | None) -> int | None:
        """The address of a tensor's first number, in C order; kept alive."""
        if x is None:
            return None
        if x.is_neg() or not x.is_contiguous():
            x = x.resolve_neg().contiguous()
        self._kept.append(x)
        return x.data_ptr()

    def refer(self, x: ctypes.Structure | None) -> int | None:
        """The address of a structure; kept alive."""
        self._kept.append(x)
        return None if x is None else ctypes.addressof(x)

    def run(self, function: str, out: ctypes.Structure) -> None:
        library.call(function, self.problem, out)


def scaled(p: Potentials, pairs: Tensor | None = None) -> Arguments:
    """For sums in scaled linear arithmetic, sequences side by side in lanes; tables by row stay logarithms.

    ``pairs`` (P,) int64 are the sequences to work on, restart * S + series; None is all of them.
    """
    return Arguments(p, side_by_side(p, pairs), logarithmic=False)


def in_logarithms(p: Potentials, pairs: Tensor | None = None) -> Arguments:
    """For sums in log space, one sequence at a time."""
    if pairs is None:
        pairs = _longest_first(p)
    return Arguments(in_float64(p), pairs.unsqueeze(-1), logarithmic=True)


def in_float64(p: Potentials) -> Potentials:
    return replace(p, **{name: table.double() for name, table in p.tables().items()})


def with_segments(p: Potentials) -> Potentials:
    """An HMM as segments of one step; anything else as it is."""
    if p.log_duration is not None:
        return p
    one_step = p.log_initial.new_zeros(p.n_restarts, p.n_states, 1)
    return replace(p, log_duration=one_step, left_censored=False, right_censored=False)


def side_by_side(p: Potentials, pairs: Tensor | None = None) -> Tensor:
    """(groups, width) pairs, longest series first, -1 where a lane stays empty.

    The order of the series within a restart is the same whichever way the groups are cut. Where rows share tables, and
    series have them in orders of their own, a group is of one series.
    """
    width = library.lane_width(p.log_emission.element_size())
    if pairs is None and p.shares_tables and p.n_restarts > width // 2 and not _share_order(p):
        by_series = _longest_first(p).view(p.n_series, p.n_restarts)
        return torch.nn.functional.pad(by_series, (0, -p.n_restarts % width), value=-1).reshape(-1, width)
    if pairs is None and p.owners is not None:
        lanes = _longest_first(p).unsqueeze(0)
    elif pairs is not None:
        lanes = pairs[p.lengths[pairs % p.n_series].argsort(descending=True, stable=True)].unsqueeze(0)
    elif -(-p.n_series // width) * width <= _WASTE * p.n_series:
        lanes = _longest_first(p).view(p.n_series, p.n_restarts).T
    else:
        lanes = _longest_first(p).unsqueeze(0)
    idle = -lanes.shape[1] % width
    return torch.nn.functional.pad(lanes, (0, idle), value=-1).reshape(-1, width)


def _longest_first(p: Potentials) -> Tensor:
    if p.n_series == 1:
        return torch.arange(p.n_restarts)
    by_length = p.lengths.argsort(descending=True, stable=True)
    if p.owners is not None:
        return by_length
    return (by_length[:, None] + p.n_series * torch.arange(p.n_restarts)).flatten()


def _share_order(p: Potentials) -> bool:
    """Whether rows of one number have the same table in all series."""
    if p.n_series == 1:
        return True
    within = torch.arange(p.n_rows) - p.offsets[:-1].repeat_interleave(p.lengths)
    longest = int(p.offsets[p.lengths.argmax()])
    found = (of_row for of_row in (p.transition_of_row, p.duration_of_row) if of_row is not None)
    return all(torch.equal(of_row, of_row[longest + within]) for of_row in found)


def _log_tables(p: Potentials) -> Tables:
    leave = None if p.log_tail is None else log_one_minus_exp(p.log_tail)
    return {
        "initial": p.log_initial,
        "transition": p.log_transition,
        "duration": p.log_duration,
        "residual": p.residual_law(),
        "tail_stay": p.log_tail,
        "tail_leave": leave,
    }


def tables_by_row(p: Potentials) -> set[str]:
    """Of which every row has its own."""
    transition = _has_many(p.log_transition) and p.transition_of_row is None
    duration = _has_many(p.log_duration) and p.duration_of_row is None
    return {name for name, found in (("transition", transition), ("duration", duration)) if found}


def _has_many(table: Tensor | None) -> bool:
    """Whether a model has one for every row, or series."""
    return table is not None and table.ndim == 4


def _n_tables(table: Tensor | None) -> int:
    return table.shape[1] if table is not None and table.ndim == 4 else 1


def _linear(log_tables: Tables) -> Tables:
    """NumPy's exponential: torch's wakes a thread pool, even for small tables, that then competes with the kernel's."""
    linear = {name: None if table is None else _apply(np.exp, table) for name, table in log_tables.items()}
    if (stay := log_tables["tail_stay"]) is not None:
        linear["tail_leave"] = -_apply(np.expm1, stay)
    return linear


def _exponentials(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of tables (R, U, ...) that rows share, as the library takes them of a row's own; and raised, if that changes any.

    The last, (R, U), are flags of the tables as :func:`_fragile` has them.
    """
    table = table.resolve_neg().contiguous()
    linear, raised = torch.empty_like(table), torch.empty_like(table)
    n_tables, size = table.shape[:2].numel(), table.shape[2:].numel()
    fragile, faint = torch.empty(2, *table.shape[:2], dtype=torch.uint8)
    pointers = (x.data_ptr() for x in (table, linear, raised, fragile, faint))
    library.call("hsmm_exponentials", Exponentials(*pointers, n_tables, size, table.dtype == torch.float64))
    return linear, raised if bool(faint.any()) else linear, fragile


def _raised(linear: Tables, log_tables: Tables) -> Tables:
    """Bounds from above whose positive entries are not lost in a backward pass's products."""
    return {name: _at_least(table, log_tables[name]) for name, table in linear.items()}


def _at_least(table: Tensor | None, log_table: Tensor | None) -> Tensor | None:
    if table is None or log_table is None or not table.numel():
        return table
    entries, least = table.numpy(), _LEAST_ENTRY[table.dtype]
    if entries.min() >= least:
        return table
    possible = log_table.resolve_neg().numpy() > -np.inf
    return torch.from_numpy(np.where(possible, np.maximum(entries, entries.dtype.type(least)), entries))


def _apply(function: np.ufunc, table: Tensor) -> Tensor:
    with np.errstate(over="ignore", under="ignore"):
        return torch.from_numpy(function(table.resolve_neg().contiguous().numpy()))


def _fragile(p: Potentials, log_tables: Tables) -> Tensor:
    """(R, S), or (1, S) where series have owners: whether small or large entries of ``log_tables`` may do harm.

    1 if an entry is positive but too small for its type, 2 if one is so large that products may overflow.

    Only entries that the series uses, so that no other series of a batch decides how it is computed.
    """
    of_all = [table for name, table in log_tables.items() if name != "residual"]
    flags = p.by_pair(_fragile_entries(of_all, 1)).expand(p.of_pairs)
    if (law := log_tables["residual"]) is None:
        return flags
    first = _fragile_entries([law], law.ndim - 2)
    return torch.maximum(flags, (first if law.ndim == 4 else p.by_pair(first)) * p.censored("left"))


def most_by_series(p: Potentials, of_tables: Tensor, of_row: Tensor) -> Tensor:
    """(R, S) the largest number that a series' rows find with their table, of (R, U) uint8 a table."""
    if not bool(of_tables.any()):
        return of_tables.new_zeros(p.of_pairs)
    found = of_tables.numpy()[:, of_row.numpy()]
    return torch.from_numpy(np.maximum.reduceat(found, p.offsets[:-1].numpy(), axis=1))


def _fragile_entries(log_tables: list[Tensor | None], n_axes: int) -> Tensor:
    """In NumPy, which is quicker with small tables."""
    entries = np.concatenate([_numpy(table.flatten(n_axes)) for table in log_tables if table is not None], -1)
    limits = np.finfo(entries.dtype)
    smallest, largest = math.log(limits.tiny), math.log(limits.max) / 32
    small = ((entries < smallest) & (entries > -math.inf)).any(-1)
    flags = np.where(entries.max(-1) > largest, np.uint8(2), small.astype(np.uint8))
    return torch.from_numpy(flags)


def _numpy(table: Tensor) -> np.ndarray:
    return table.resolve_neg().numpy()
