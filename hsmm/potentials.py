"""The four log-tables that are all a model hands to inference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from hsmm.numerics import log_one_minus_exp, log_survival
from hsmm.types import Offsets

_TABLES = ("log_initial", "log_transition", "log_duration", "log_emission", "log_tail", "log_residual")
_OPTIONAL = ("log_duration", "log_tail", "log_residual")
_RISING = WeakIdKeyDictionary()  # offsets on a GPU that have been looked at: each look makes the host wait


@dataclass(frozen=True, eq=False)
class Potentials:
    """Log-potentials of R models (restarts) over S series packed into N time steps.

    With K states and a duration table of D columns:

    - ``log_initial`` (R, K): the first segment's state.
    - ``log_transition`` (R, K, K) or (R, N, K, K): from a segment's state to the next one's;
      row n governs the step n → n + 1, so a series' last row is unused.
    - ``log_duration`` (R, K, D), (R, N, K, D) or None: column d - 1 holds duration d; row n governs a
      segment that starts at n. None is an HMM, whose every step is a segment of length 1.
    - ``transition_of_row``, ``duration_of_row`` (N,) int64 or None: which of the U tables of a ``log_transition``
      (R, U, K, K), or ``log_duration`` (R, U, K, D), is that of row n, where rows share tables; counts have U, too.
    - ``log_emission`` (R, N, K): 0 in every state for a missing row, -inf for a forbidden state.
    - ``offsets`` (S + 1,): series s owns the rows ``offsets[s]:offsets[s + 1]``.
    - ``log_tail`` (R, K) or None: makes the last column a *tail slot*. It then holds P(d >= D) and a segment in
      it stays there one more step with this log-probability, or else has D - 1 steps left
      (D = 1: ends). A table for durations 1..M with an extra slot for P(d > M) has D = M + 1 columns.
    - ``owners`` (S,) int64 or None: the model that each series is of, in place of every series being of every model.
      ``log_emission`` is then (1, N, K), and the other tables do not change with time.
    - ``log_residual`` (R, K, D), (R, S, K, D) or None: law of the steps left to a left-censored first segment, counting
      its first visible step; None means the equilibrium law P(d >= r) / E[d] of the first row's table.
    - ``left_censored``, ``right_censored``: may the first (last) segment of a series reach beyond its rows?
      One flag for all series, or a boolean tensor (S,). Without meaning for an HMM.

    Tables need not be normalised. Raises ``ValueError`` for shapes, dtypes, devices and offsets that do not fit.
    """

    log_initial: Tensor
    log_transition: Tensor
    log_duration: Tensor | None
    log_emission: Tensor
    offsets: Offsets
    log_tail: Tensor | None = None
    left_censored: bool | Tensor = False
    right_censored: bool | Tensor = True
    log_residual: Tensor | None = None
    owners: Tensor | None = None
    transition_of_row: Tensor | None = None
    duration_of_row: Tensor | None = None

    def __post_init__(self) -> None:
        _check_dtypes(self)
        _check_emission(self.log_emission)
        _check_offsets(self.offsets, self.n_rows, self.log_emission.device)
        _check_shapes(self)
        if self.owners is not None:
            _check_owners(self)

    @property
    def n_restarts(self) -> int:
        return self.log_emission.shape[0] if self.owners is None else self.log_initial.shape[0]

    @property
    def n_rows(self) -> int:
        return self.log_emission.shape[1]

    @property
    def n_states(self) -> int:
        return self.log_emission.shape[2]

    @property
    def n_series(self) -> int:
        return self.offsets.numel() - 1

    @property
    def n_durations(self) -> int:
        """Columns D of the duration table; 1 for an HMM."""
        return 1 if self.log_duration is None else self.log_duration.shape[-1]

    @property
    def is_stationary(self) -> bool:
        """Whether neither transitions nor durations change with time."""
        return self.log_transition.ndim == 3 and (self.log_duration is None or self.log_duration.ndim == 3)

    @property
    def of_pairs(self) -> tuple[int, int]:
        """The shape of what every series has in every model that it is of: (R, S), or (1, S) where it has one."""
        return (self.n_restarts if self.owners is None else 1), self.n_series

    def by_pair(self, of_models: Tensor) -> Tensor:
        """Numbers (R,) of the models, in a shape that broadcasts to :attr:`of_pairs`."""
        return of_models[:, None] if self.owners is None else of_models[None, self.owners]

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()

    @property
    def series_of_row(self) -> Tensor:
        """(N,) which series each row belongs to."""
        return torch.repeat_interleave(torch.arange(self.n_series, device=self.offsets.device), self.lengths)

    def censored(self, side: str) -> Tensor:
        """(S,) boolean flags of ``side``, "left" or "right"."""
        flag = self.left_censored if side == "left" else self.right_censored
        device = self.log_emission.device
        if self.log_duration is None:
            return torch.zeros(self.n_series, dtype=torch.bool, device=device)
        if isinstance(flag, Tensor):
            return flag.expand(self.n_series)
        return torch.full((self.n_series,), flag, dtype=torch.bool, device=device)

    def residual_law(self) -> Tensor | None:
        """(R, K, D) or (R, S, K, D) law of the steps left to a left-censored first segment; None if there is none."""
        cut = self.left_censored
        if self.log_duration is None or not (bool(cut.any()) if isinstance(cut, Tensor) else cut):
            return None
        if self.log_residual is not None:
            return self.log_residual
        if self.log_duration.ndim == 3:
            return equilibrium_residual(self.log_duration, self.log_tail)
        stay = None if self.log_tail is None else self.log_tail[:, None]
        first = self.offsets[:-1]
        first = first if self.duration_of_row is None else self.duration_of_row[first]
        return equilibrium_residual(self.log_duration[:, first], stay)

    @property
    def shares_tables(self) -> bool:
        """Whether rows find their table among fewer."""
        return self.transition_of_row is not None or self.duration_of_row is not None

    def by_row(self) -> Potentials:
        """The same law, every row with a table of its own where rows share some."""
        if not self.shares_tables:
            return self
        moves, laws = self.log_transition, self.log_duration
        if self.transition_of_row is not None:
            moves = moves.index_select(1, self.transition_of_row)
        if laws is not None and self.duration_of_row is not None:
            laws = laws.index_select(1, self.duration_of_row)
        return replace(self, log_transition=moves, log_duration=laws, transition_of_row=None, duration_of_row=None)

    def tables(self) -> dict[str, Tensor]:
        """The tables that are present, by field name, in the order of the fields."""
        return {name: table for name in _TABLES if (table := getattr(self, name)) is not None}

    def detach(self) -> Potentials:
        """These tables without a history; themselves if they have none."""
        tables = self.tables()
        if not any(table.requires_grad for table in tables.values()):
            return self
        return replace(self, **{name: table.detach() for name, table in tables.items()})

    def take(self, restarts: Tensor) -> Potentials:
        """The models at these indices of the restart axis, where each sees every series."""
        assert self.owners is None
        return replace(self, **{name: table[restarts] for name, table in self.tables().items()})

    def with_dwell_times(self, max_duration: int) -> Potentials:
        """An HMM's tables as the same law with geometric dwell times, so that runs of one state are segments.

        The last of ``max_duration`` columns is the tail slot. Needs stationary, normalised transitions.
        """
        if self.log_duration is not None or self.log_transition.ndim != 3:
            raise ValueError("dwell times are made of an HMM's stationary transitions; these tables have others.")
        stay = self.log_transition.diagonal(dim1=-2, dim2=-1)
        leave = log_one_minus_exp(stay)
        diagonal = torch.eye(self.n_states, dtype=torch.bool, device=stay.device)
        moves = self.log_transition.masked_fill(diagonal, -torch.inf)
        moves = moves - leave.masked_fill(leave.isneginf(), 0.0).unsqueeze(-1)
        one_step = torch.zeros_like(stay).unsqueeze(-1)
        return replace(self, log_transition=moves, log_duration=one_step, log_tail=stay).lengthened(max_duration)

    def lengthened(self, n_columns: int) -> Potentials:
        """The same law, the tail slot moved out so that the duration table has ``n_columns``."""
        if self.log_tail is None or self.log_duration is None:
            raise ValueError("only tables with a tail can be lengthened; without one, no duration lies beyond them.")
        if n_columns < self.n_durations:
            raise ValueError(f"n_columns is {n_columns}; expected at least the {self.n_durations} columns there are.")
        residual = None if self.log_residual is None else _lengthened(self.log_residual, self.log_tail, n_columns)
        longer = _lengthened(self.log_duration, self.log_tail, n_columns)
        return replace(self, log_duration=longer, log_residual=residual)


def _lengthened(table: Tensor, log_tail: Tensor, n_columns: int) -> Tensor:
    """(R, ..., K, D) → (R, ..., K, n_columns): durations within the tail slot get columns of their own."""
    stay = log_tail.view(log_tail.shape[0], *[1] * (table.ndim - 3), log_tail.shape[1], 1)
    steps = torch.arange(n_columns - table.shape[-1] + 1, dtype=table.dtype, device=table.device)
    survived = torch.where(steps == 0, 0.0, stay * steps)
    ends = torch.where(steps == steps[-1], 0.0, log_one_minus_exp(stay))
    return torch.cat([table[..., :-1], table[..., -1:] + survived + ends], -1)


def equilibrium_residual(log_duration: Tensor, log_tail: Tensor | None = None) -> Tensor:
    """Log-law of the steps left, counting this one, at a moment picked at random: P(d >= r) / E[d].

    ``log_duration`` (..., K, D) may be unnormalised; with ``log_tail`` (..., K) the last column is the tail slot.
    """
    weight = log_survival(log_duration)
    if log_tail is not None:
        forever = log_tail == 0
        tail = weight[..., -1:] - log_one_minus_exp(log_tail.masked_fill(forever, -1.0)).unsqueeze(-1)
        endless = forever.unsqueeze(-1) & ~weight[..., -1:].isneginf()
        weight = torch.cat([weight[..., :-1].masked_fill(endless, -torch.inf), torch.where(endless, 0.0, tail)], -1)
    total = weight.logsumexp(-1, keepdim=True)
    return weight - total.masked_fill(total.isneginf(), 0.0)


def _check_dtypes(p: Potentials) -> None:
    for name in _TABLES:
        table = getattr(p, name)
        if table is None and name in _OPTIONAL:
            continue
        if not isinstance(table, Tensor) or table.dtype not in (torch.float32, torch.float64):
            found = table.dtype if isinstance(table, Tensor) else type(table).__name__
            raise ValueError(f"{name} is {found}; expected a float32 or float64 tensor.")
    for name, table in p.tables().items():
        if table.dtype != p.log_emission.dtype or table.device != p.log_emission.device:
            raise ValueError(
                f"{name} is {table.dtype} on {table.device}, but log_emission is {p.log_emission.dtype} "
                f"on {p.log_emission.device}; give every table the same dtype and device."
            )
        if table.layout != torch.strided or table.is_meta:
            raise ValueError(
                f"{name} is {table.layout} on {table.device}; expected a dense tensor with numbers: use to_dense(), "
                "and a device that stores them."
            )


def _check_emission(log_emission: Tensor) -> None:
    if log_emission.ndim != 3:
        raise ValueError(f"log_emission has shape {tuple(log_emission.shape)}; expected (restarts, rows, states).")
    if min(log_emission.shape[0], log_emission.shape[2]) < 1:
        shape = tuple(log_emission.shape)
        raise ValueError(f"log_emission has shape {shape}; expected at least one restart and one state.")


def _check_owners(p: Potentials) -> None:
    assert p.owners is not None
    fits = p.owners.dtype == torch.int64 and tuple(p.owners.shape) == (p.n_series,) and not p.owners.is_cuda
    if not fits or int(p.owners.min()) < 0 or int(p.owners.max()) >= p.n_restarts:
        raise ValueError(
            f"owners are {p.owners.dtype} of shape {tuple(p.owners.shape)}; expected int64 of shape ({p.n_series},), "
            f"each of the {p.n_restarts} models."
        )
    if not p.is_stationary or (p.log_residual is not None and p.log_residual.ndim == 4):
        raise ValueError("series have owners, but a table changes with time; give one table for each model.")


def _check_shapes(p: Potentials) -> None:
    e, k = p.log_emission.shape[0], p.n_states
    r = e if p.owners is None else p.n_restarts
    if e != (p.of_pairs[0]):
        raise ValueError(f"log_emission has {e} tables; expected one, as series have owners.")
    d = p.n_durations
    _expect("log_initial", p.log_initial, [(r, k)])
    _expect_rows("log_transition", p.log_transition, (k, k), p.transition_of_row, p)
    if p.log_duration is not None:
        if d < 1:
            raise ValueError("log_duration has no columns; expected at least one duration.")
        _expect_rows("log_duration", p.log_duration, (k, d), p.duration_of_row, p)
    elif p.duration_of_row is not None:
        raise ValueError("duration_of_row needs log_duration; an HMM has no duration table.")
    optional: dict[str, list[tuple[int, ...]]] = {
        "log_tail": [(r, k)],
        "log_residual": [(r, k, d), (r, p.n_series, k, d)],
    }
    for name, shapes in optional.items():
        if (table := getattr(p, name)) is not None:
            if p.log_duration is None:
                raise ValueError(f"{name} needs log_duration; an HMM has no duration table.")
            _expect(name, table, shapes)
    for name, flag in (("left_censored", p.left_censored), ("right_censored", p.right_censored)):
        if isinstance(flag, Tensor):
            _check_flags(name, flag, p)
        elif not isinstance(flag, bool):
            raise ValueError(f"{name} is {flag!r}; expected True, False or a boolean tensor of shape ({p.n_series},).")


def _check_flags(name: str, flag: Tensor, p: Potentials) -> None:
    device = p.log_emission.device
    if flag.dtype != torch.bool or flag.shape != (p.n_series,) or flag.device != device:
        raise ValueError(
            f"{name} is a {flag.dtype} tensor of shape {tuple(flag.shape)} on {flag.device}; "
            f"expected True, False or a boolean tensor of shape ({p.n_series},) on {device}."
        )


def _expect_rows(name: str, table: Tensor, size: tuple[int, int], of_row: Tensor | None, p: Potentials) -> None:
    r, n = p.n_restarts, p.n_rows
    if of_row is None:
        return _expect(name, table, [(r, *size), (r, n, *size)])
    n_tables = table.shape[1] if table.ndim == 4 else 0
    _expect(name, table, [(r, max(n_tables, 1), *size)])
    given = name.replace("log_", "") + "_of_row"
    if of_row.dtype != torch.int64 or tuple(of_row.shape) != (n,) or of_row.device != table.device:
        raise ValueError(
            f"{given} is {of_row.dtype} of shape {tuple(of_row.shape)} on {of_row.device}; expected int64 of shape "
            f"({n},) on {table.device}, the table of each row."
        )
    if not table.is_cuda and n and not 0 <= int(of_row.min()) <= int(of_row.max()) < n_tables:
        raise ValueError(
            f"{given} holds {int(of_row.min())} to {int(of_row.max())}; expected numbers of the {n_tables} tables of "
            f"{name}, from 0."
        )
    return None


def _expect(name: str, table: Tensor, shapes: list[tuple[int, ...]]) -> None:
    if tuple(table.shape) not in shapes:
        raise ValueError(f"{name} has shape {tuple(table.shape)}; expected {' or '.join(map(str, shapes))}.")


def _check_offsets(offsets: Offsets, n_rows: int, device: torch.device) -> None:
    integral = isinstance(offsets, Tensor) and offsets.dtype == torch.int64 and offsets.ndim == 1
    if not integral or offsets.numel() < 2:
        raise ValueError("offsets must be an int64 tensor of at least two boundaries.")
    if offsets.device != device:
        raise ValueError(f"offsets are on {offsets.device}, the tables on {device}; put them on the same device.")
    if offsets.is_cuda and _RISING.get(offsets) == (n_rows, offsets._version):
        return
    bounds = offsets.numpy(force=True)
    if bounds[0] != 0 or bounds[-1] != n_rows or (bounds[1:] <= bounds[:-1]).any():
        raise ValueError(
            f"offsets are {offsets[:8].tolist()}{'…' if offsets.numel() > 8 else ''}; expected them to rise strictly "
            f"from 0 to the number of rows, {n_rows}."
        )
    if offsets.is_cuda:
        _RISING[offsets] = n_rows, offsets._version
