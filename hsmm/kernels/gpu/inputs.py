"""Potentials as the kernels take them: tables, rows, and the sequences (restart, series) to work on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hsmm.kernels.gpu.launch import Argument
from hsmm.kernels.gpu.plans import Plan, plan_for
from hsmm.numerics import log_one_minus_exp, log_survival
from hsmm.potentials import Potentials

Tables = dict[str, Tensor | None]


def plan_of(p: Potentials, *, paths: bool) -> Plan | None:
    """The plan of these tables; None where there is none."""
    if not p.is_stationary:
        return None
    return plan_for(
        p.n_states,
        p.n_durations,
        p.log_emission.dtype,
        has_tail=p.log_tail is not None,
        paths=paths,
        is_chain=p.log_duration is None,
    )


def log_tables(p: Potentials) -> Tables:
    """An HMM has segments of one step."""
    one_step = p.log_initial.new_zeros(p.n_restarts, p.n_states, 1)
    return {
        "initial": p.log_initial,
        "transition": p.log_transition,
        "duration": one_step if p.log_duration is None else p.log_duration,
        "residual": p.residual_law(),
        "stay": p.log_tail,
        "leave": None if p.log_tail is None else log_one_minus_exp(p.log_tail),
    }


def survivals(p: Potentials) -> tuple[Tensor, Tensor | None]:
    """log P(d >= column) in float64, of a segment and of a left-censored first one."""
    tables = log_tables(p)
    duration, residual = tables["duration"], tables["residual"]
    assert duration is not None
    return log_survival(duration.double()), None if residual is None else log_survival(residual.double())


def linear_tables(p: Potentials) -> Tables:
    tables = {name: None if table is None else table.exp() for name, table in log_tables(p).items()}
    return tables if p.log_tail is None else {**tables, "leave": -torch.expm1(p.log_tail)}


def shared_arguments(p: Potentials, tables: Tables, pairs: Tensor, *, open_end: bool) -> list[Argument]:
    """What every kernel takes first; ``open_end`` says how an HMM's last step is to be taken, which is all the same."""
    right = p.censored("right") if p.log_duration is not None else torch.full_like(p.censored("right"), open_end)
    residual = tables["residual"]
    return [
        *(None if table is None else table.contiguous() for table in tables.values()),
        p.log_emission.contiguous(),
        p.offsets.contiguous(),
        owners_of(p),
        p.censored("left").contiguous(),
        right.contiguous(),
        pairs.contiguous(),
        len(pairs),
        p.n_series,
        p.n_rows,
        int(residual is not None and residual.ndim == 4),
    ]


def owners_of(p: Potentials) -> Tensor | None:
    """Where the kernels are."""
    return None if p.owners is None else p.owners.to(p.log_emission.device)


def longest_first(p: Potentials) -> Tensor:
    """(R * S,) sequences, restart * S + series, or (S,) series with owners: those of one warp are of like length."""
    by_length = p.lengths.argsort(descending=True, stable=True)
    if p.owners is not None:
        return by_length
    return (by_length[:, None] + p.n_series * torch.arange(p.n_restarts, device=by_length.device)).flatten()


def in_float64(p: Potentials) -> Potentials:
    return replace(p, **{name: table.double() for name, table in p.tables().items()})
