"""Random potentials, and the ways to take them apart and put them together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hsmm.kernels import native
from hsmm.potentials import Potentials
from hsmm.types import KernelName
from tests import oracle


def random_potentials(
    seed: int,
    lengths: tuple[int, ...] = (4, 1, 5),
    *,
    n_restarts: int = 2,
    n_states: int = 3,
    n_durations: int | None = 4,
    tail: bool = False,
    residual: bool = False,
    self_transitions: bool = False,
    time_varying: bool = False,
    sparse: bool = False,
    normalised: bool = True,
    left_censored: bool | Tensor = False,
    right_censored: bool | Tensor = True,
) -> Potentials:
    """Float64 tables; ``n_durations=None`` is an HMM, ``sparse`` forbids, misses and zeroes parts of them."""
    rng = np.random.default_rng(seed)
    n_rows = sum(lengths)
    rows = (n_rows,) if time_varying else ()
    initial = rng.dirichlet(np.ones(n_states), size=n_restarts)
    transition = rng.dirichlet(np.ones(n_states), size=(n_restarts, *rows, n_states))
    duration = stay = left = None
    if n_durations is not None:
        duration = rng.dirichlet(np.ones(n_durations), size=(n_restarts, *rows, n_states))
        left = rng.dirichlet(np.ones(n_durations), size=(n_restarts, n_states)) if residual else None
        stay = rng.uniform(0.1, 0.9, size=(n_restarts, n_states)) if tail else None
    emission = rng.normal(scale=2.0, size=(n_restarts, n_rows, n_states))
    if not self_transitions and n_states > 1 and n_durations is not None:
        transition = _without_diagonal(transition)
    if sparse:
        _thin_out(rng, initial, transition, duration, stay, emission)
    if not normalised:
        for table in (initial, transition, duration, left):
            if table is not None:
                table *= rng.uniform(0.5, 2.0, size=table.shape)
    return Potentials(
        log_initial=_log(initial),
        log_transition=_log(transition),
        log_duration=None if duration is None else _log(duration),
        log_emission=torch.from_numpy(emission),
        offsets=torch.tensor([0, *np.cumsum(lengths)]),
        log_tail=None if stay is None else _log(stay),
        log_residual=None if left is None else _log(left),
        left_censored=left_censored,
        right_censored=right_censored,
    )


def oracle_model(p: Potentials, restart: int, series: int) -> oracle.Model:
    """One series under one model, as linear probabilities."""
    rows = slice(*p.offsets[series : series + 2].tolist())
    n_rows = rows.stop - rows.start

    def by_row(table: Tensor, stationary_axes: int) -> np.ndarray:
        varies = table.ndim > stationary_axes
        per_row = table[restart, rows] if varies else table[restart].expand(n_rows, -1, -1)
        return per_row.exp().numpy()

    durations = torch.zeros(p.n_restarts, p.n_states, 1) if p.log_duration is None else p.log_duration
    return oracle.Model(
        initial=p.log_initial[restart].exp().numpy(),
        transition=by_row(p.log_transition, 3),
        duration=by_row(durations.double(), 3),
        emission=p.log_emission[restart, rows].exp().numpy(),
        tail=None if p.log_tail is None else p.log_tail[restart].exp().numpy(),
        residual=None if p.log_residual is None else p.log_residual[restart].exp().numpy(),
        left_censored=bool(p.censored("left")[series]),
        right_censored=bool(p.censored("right")[series]),
    )


def selected(p: Potentials, restarts: list[int], series: list[int], n_rows: list[int] | None = None) -> Potentials:
    """These models and series, in this order; of series number i the first ``n_rows[i]`` rows where given."""
    rows = rows_of(p, series, n_rows)
    lengths = p.lengths[series] if n_rows is None else torch.tensor(n_rows)

    def cut(name: str, table: Tensor) -> Tensor:
        if name == "log_residual" and table.ndim == 4:
            return table[restarts][:, series]
        return table[restarts][:, rows] if _has_rows(p, name, table) else table[restarts]

    return replace(
        p,
        **{name: cut(name, table) for name, table in p.tables().items()},
        **_of_rows(p, rows),
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]),
        left_censored=_of_series(p.left_censored, series),
        right_censored=_of_series(p.right_censored, series),
    )


def heads(p: Potentials, n_rows: Sequence[int]) -> Potentials:
    """The first rows of every series."""
    return selected(p, list(range(p.n_restarts)), list(range(p.n_series)), list(n_rows))


def tails(p: Potentials, n_rows: Sequence[int]) -> tuple[Potentials, Tensor]:
    """What follows the first rows of every series, and which rows of ``p`` that is."""
    rows = torch.cat([torch.arange(p.offsets[s] + n, p.offsets[s + 1]) for s, n in enumerate(n_rows)])

    def cut(name: str, table: Tensor) -> Tensor:
        return table[:, rows] if name != "log_residual" and _has_rows(p, name, table) else table

    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), (p.lengths - torch.tensor(n_rows)).cumsum(0)])
    rest = {name: cut(name, table) for name, table in p.tables().items()}
    return replace(p, **rest, **_of_rows(p, rows), offsets=offsets), rows


def sharing(p: Potentials, n_tables: int, generator: torch.Generator, *, alike: bool = False) -> Potentials:
    """Rows that had tables of their own share the first few, in any order, or in all series in the same one."""
    within = torch.arange(p.n_rows) - p.offsets[:-1].repeat_interleave(p.lengths)

    def shared(name: str, table: Tensor | None) -> dict[str, Tensor]:
        if table is None or table.ndim != 4:
            return {}
        kept = min(n_tables, p.n_rows)
        order = torch.randint(kept, (p.n_rows,), generator=generator)
        return {f"log_{name}": table[:, :kept], f"{name}_of_row": order[within] if alike else order}

    return replace(p, **shared("transition", p.log_transition), **shared("duration", p.log_duration))


def _has_rows(p: Potentials, name: str, table: Tensor) -> bool:
    shared = getattr(p, f"{name.removeprefix('log_')}_of_row", None) is not None
    return name == "log_emission" or (table.ndim == 4 and not shared)


def _of_rows(p: Potentials, rows: Tensor) -> dict[str, Tensor]:
    found = {name: getattr(p, name) for name in ("transition_of_row", "duration_of_row")}
    return {name: of_row[rows] for name, of_row in found.items() if of_row is not None}


def rows_of(p: Potentials, series: list[int], n_rows: list[int] | None = None) -> Tensor:
    """Where in ``p`` the rows of ``selected`` come from."""
    lengths = p.lengths[series].tolist() if n_rows is None else n_rows
    return torch.cat([p.offsets[s] + torch.arange(n) for s, n in zip(series, lengths, strict=True)])


def require_support(kernel: KernelName, p: Potentials) -> None:
    if kernel == "native" and not native.supports(p, "expected_counts"):
        pytest.skip("the native kernel leaves this case to the reference")


def _of_series(flag: bool | Tensor, series: list[int]) -> bool | Tensor:
    return flag[series] if isinstance(flag, Tensor) else flag


def _without_diagonal(transition: np.ndarray) -> np.ndarray:
    off_diagonal = transition * (1 - np.eye(transition.shape[-1]))
    return off_diagonal / off_diagonal.sum(-1, keepdims=True)


def _thin_out(
    rng: np.random.Generator,
    initial: np.ndarray,
    transition: np.ndarray,
    duration: np.ndarray | None,
    stay: np.ndarray | None,
    emission: np.ndarray,
) -> None:
    n_restarts, n_rows, n_states = emission.shape
    emission[:, rng.integers(n_rows, size=2)] = 0.0
    emission[np.arange(n_restarts), rng.integers(n_rows, size=n_restarts), rng.integers(n_states)] = -np.inf
    if n_states > 1:
        initial[0, rng.integers(n_states)] = 0.0
    if n_states > 2:
        transition[0, ..., 0, rng.integers(1, n_states)] = 0.0
    if duration is not None and duration.shape[-1] > 2:
        duration[..., 0, :2] = 0.0
        duration[-1, ..., -1, 1] = 0.0
    if stay is not None:
        stay[0, 0] = 0.0
    for table in (initial, transition, duration):
        if table is not None:
            table /= table.sum(-1, keepdims=True)


def _log(probability: np.ndarray) -> Tensor:
    return torch.from_numpy(probability).log()
