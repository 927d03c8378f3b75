"""Checks the tables, picks the kernel, and makes the log-likelihood differentiable."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from hsmm.errors import KernelWarning
from hsmm.kernels import gpu, native, reference
from hsmm.kernels.protocol import Kernel, Query
from hsmm.kernels.results import Causal, CausalName, Decoded, FilterState, Posterior
from hsmm.native import library
from hsmm.potentials import Potentials
from hsmm.types import DurationSeries, KernelName, PerSeries, StateSeries

KERNELS: dict[str, Kernel] = {"reference": reference, "native": native, "gpu": gpu}
_LARGEST = 1e300


def log_partition(
    p: Potentials,
    *,
    kernel: KernelName = "auto",
    checked: bool = False,
    trial: bool = False,
    with_counts: bool = False,
) -> PerSeries:
    """log p(y of each series), differentiable once in every table.

    Shapes: (R, S). A supplied ``log_residual`` is held fixed when ``log_duration`` is differentiated; the equilibrium
    law is part of the derivative. Raises ``ValueError`` for tables with NaN, +inf or finite
    entries beyond 1e300. Tables that are ``checked``, or of a ``trial``, are as for :func:`expected_counts`. A
    derivative of the plain sum, which needs the counts, costs less if it is announced: ``with_counts``.
    """
    if not checked:
        check_finite(p)
    if not any(table.requires_grad for table in p.tables().values()):
        found = choose("log_partition", p, kernel).log_partition(p)
        return _computed(p, found, trial=trial) if checked else found
    if p.log_residual is None:
        p = replace(p, log_residual=p.residual_law())
    names = tuple(p.tables())
    return _LogPartition.apply(p.detach(), kernel, names, with_counts, *p.tables().values())


def expected_counts(
    p: Potentials,
    series_weight: PerSeries | None = None,
    *,
    kernel: KernelName = "auto",
    checked: bool = False,
    trial: bool = False,
    awaited: bool = True,
) -> Posterior:
    """Posterior counts, by row where a table is; each series counted ``series_weight`` (R, S) times.

    Tables that are ``checked``, those of a model on data that were looked at, are looked at again only where a
    log-likelihood is not finite: in a long fit, reading them is a good part of the work. Where those of a ``trial``
    cannot be computed with, the log-likelihood is -inf instead. Counts that are not ``awaited`` nobody looks at here:
    the host does not wait for a GPU.
    """
    if not checked:
        check_finite(p)
    if series_weight is not None:
        _check_weight(p, series_weight)
    counts = choose("expected_counts", p, kernel).expected_counts(p.detach(), series_weight)
    if checked and awaited:
        counts = replace(counts, log_likelihood=_computed(p, counts.log_likelihood, trial=trial))
    return counts


def _computed(p: Potentials, log_likelihood: PerSeries, *, trial: bool) -> PerSeries:
    """What tables have that were not looked at before; raises ``ValueError`` where they cannot be computed with."""
    if not bool(log_likelihood.isfinite().all()):
        if trial:
            return log_likelihood.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        check_finite(p)
    return log_likelihood


def posterior(p: Potentials, *, kernel: KernelName = "auto") -> Posterior:
    """Posterior counts, summed over rows and series: see :class:`Posterior` for shapes and formulas."""
    counts = expected_counts(p, kernel=kernel)
    per_row = {
        name: table for name in ("transition", "duration", "residual") if (table := getattr(counts, name)).ndim == 4
    }
    return replace(counts, **{name: table.sum(1) for name, table in per_row.items()})


def causal(
    p: Potentials, want: Collection[CausalName], *, after: FilterState | None = None, kernel: KernelName = "auto"
) -> Causal:
    """What is known at each row from that row and those before it, all of one forward pass: see :class:`Causal`.

    ``want`` names its fields; the others are None. With ``after`` the rows follow those that led to that state, and
    then ``elapsed`` needs a stationary duration table: those of the rows before would be needed. With a tail the last
    columns of ``elapsed`` and ``remaining`` are P(r >= D); a left-censored first segment has age 1 at its series'
    first row. A field has the same bits whatever else is wanted.
    """
    _check_wanted(want)
    if after is not None and "elapsed" in want and p.log_duration is not None and p.log_duration.ndim == 4:
        raise ValueError(
            "elapsed cannot go on after a state where the duration table changes with time, because a segment's age "
            "is weighed with the table of the row where it started; give all rows at once."
        )
    check_finite(p)
    if after is not None:
        _check_state(p, after)
    return choose("causal", p, kernel).causal(p.detach(), want, after)


def filtered(p: Potentials, *, after: FilterState | None = None, kernel: KernelName = "auto") -> StateSeries:
    """P(z_n | y up to n), causal: (R, N, K). With ``after`` the rows follow those that led to that state."""
    return causal(p, ["filtered"], after=after, kernel=kernel)["filtered"]


def log_density(p: Potentials, *, after: FilterState | None = None, kernel: KernelName = "auto") -> Tensor:
    """log p(y_n | y before n), causal: (R, N)."""
    return causal(p, ["log_density"], after=after, kernel=kernel)["log_density"]


def predicted(p: Potentials, *, after: FilterState | None = None, kernel: KernelName = "auto") -> StateSeries:
    """log P(z_n | y before n), causal: (R, N, K)."""
    return causal(p, ["predicted"], after=after, kernel=kernel)["predicted"]


def elapsed(p: Potentials, *, after: FilterState | None = None, kernel: KernelName = "auto") -> DurationSeries:
    """P(the segment is r steps old, this one counted | y up to n), causal: (R, N, D), column r - 1.

    With ``after`` the duration table must be stationary: those of the rows before are needed.
    """
    return causal(p, ["elapsed"], after=after, kernel=kernel)["elapsed"]


def remaining(p: Potentials, *, after: FilterState | None = None, kernel: KernelName = "auto") -> DurationSeries:
    """P(the segment has r steps left, this one counted | y up to n), causal: (R, N, D), column r - 1."""
    return causal(p, ["remaining"], after=after, kernel=kernel)["remaining"]


def filter_state(p: Potentials, *, after: FilterState | None = None, kernel: KernelName = "auto") -> FilterState:
    """What the rows of each series say about the rows to come: give it as ``after`` with the next rows.

    Pieces give the same bits as one pass over all rows, with the same kernel. Tables that change with time must hold
    the transition out of each piece's last row.
    """
    state = causal(p, ["filter_state"], after=after, kernel=kernel).filter_state
    assert state is not None
    return state


def smoothed(p: Potentials, lag: int, *, kernel: KernelName = "auto") -> StateSeries:
    """P(z_n | y up to n + ``lag``, or up to the series' last row): (R, N, K). Fixed-lag smoothing in O(N·lag·K·D).

    That a segment ends with its series, without right-censoring, is not known before: it is not conditioned on.
    """
    if lag < 0:
        raise ValueError(f"lag is {lag}; expected a number of rows, 0 or more.")
    check_finite(p)
    return choose("smoothed", p, kernel).smoothed(p.detach(), lag)


def viterbi(p: Potentials, *, kernel: KernelName = "auto") -> Decoded:
    """The most probable sequence of segments of each series: see :class:`Decoded`."""
    check_finite(p)
    return choose("viterbi", p, kernel).viterbi(p.detach())


def sample_paths(
    p: Potentials, n: int, generator: torch.Generator | None = None, *, kernel: KernelName = "auto"
) -> Tensor:
    """``n`` state paths from their posterior: (n, R, N) int64."""
    check_finite(p)
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"n is {n!r}; expected a number of paths, 0 or more.")
    return choose("sample_paths", p, kernel).sample_paths(p.detach(), n, generator)


def choose(query: Query, p: Potentials, kernel: KernelName) -> Kernel:
    """The back end of this name; with "auto" the fastest that can answer the query."""
    if kernel == "auto":
        return _fastest(query, p)
    if kernel not in KERNELS:
        raise ValueError(f"kernel is {kernel!r}; expected 'auto', {', '.join(map(repr, KERNELS))}.")
    chosen = KERNELS[kernel]
    if not chosen.supports(p, query):
        raise ValueError(f"the {kernel} kernel cannot do {query} for these tables; use kernel='auto'.")
    return chosen


def _fastest(query: Query, p: Potentials) -> Kernel:
    if p.log_emission.device.type == "cpu":
        if _native_is_available() and native.supports(p, query):
            return native
    elif gpu.supports(p, query):
        return gpu
    if not reference.supports(p, query):
        raise ValueError(f"no kernel here can do {query} for series with owners; give each model all its series.")
    if p.log_emission.device.type != "cpu":
        _warn_of_slow_device(query, p.log_emission.device.type)
    return reference


@functools.cache
def _warn_of_slow_device(query: Query, device: str) -> None:
    reason = gpu.complaint() if device == "cuda" else f"they are for cuda, the tables are on {device}"
    warnings.warn(
        f"{query} has no kernel that can run here ({reason}); "
        "the reference computes it step by step on the device: the CPU is likely to be faster.",
        KernelWarning,
        stacklevel=6,
    )


@functools.cache
def _native_is_available() -> bool:
    if complaint := library.complaint():
        warnings.warn(complaint, KernelWarning, stacklevel=5)
    return native.available()


def _check_wanted(want: Collection[CausalName]) -> None:
    names = get_args(CausalName)
    unknown = [name for name in want if name not in names]
    if isinstance(want, str) or unknown:
        raise ValueError(f"want is {want!r}; expected a list of some of {', '.join(map(repr, names))}.")


def _check_weight(p: Potentials, weight: Tensor) -> None:
    expected = f"expected finite floating-point numbers of shape {p.of_pairs} on {p.log_emission.device}."
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        found = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"series_weight is {found}; {expected}")
    if tuple(weight.shape) != p.of_pairs or weight.device != p.log_emission.device:
        raise ValueError(f"series_weight has shape {tuple(weight.shape)} on {weight.device}; {expected}")
    if not bool(weight.isfinite().all()):
        raise ValueError(f"series_weight holds NaN or infinity; {expected}")


def _check_state(p: Potentials, after: FilterState) -> None:
    shape = (p.n_restarts, p.n_series, p.n_states)
    expected = {
        "starting": shape,
        "steps_left": (*shape, p.n_durations),
        "by_age": (*shape, p.n_durations),
        "n_rows": (p.n_series,),
    }
    for name, wanted in expected.items():
        dtype, found = torch.int64 if name == "n_rows" else torch.float64, getattr(after, name)
        if found.dtype != dtype or found.device != p.log_emission.device:
            raise ValueError(
                f"the state's {name} is {found.dtype} on {found.device}; expected {dtype} on {p.log_emission.device}."
            )
        if tuple(getattr(after, name).shape) != wanted:
            raise ValueError(
                f"the state's {name} has shape {tuple(getattr(after, name).shape)}; expected {wanted}, of the same "
                "models and series in the same order."
            )


def check_finite(p: Potentials) -> None:
    """Tables hold log-weights: -inf, or finite and so far from overflow that sums over rows stay finite."""
    if p.log_emission.device.type != "cpu" and bool(_is_in_order(p)):
        return
    for name, table in p.tables().items():
        table = table.detach()
        least, largest = _range(table)
        if not largest <= _LARGEST or (least < -_LARGEST and _has_entries_below(table, -_LARGEST)):
            where = (~_are_in_order(table)).nonzero()[0].tolist()
            raise ValueError(
                f"{name} is {float(table[tuple(where)])} at {where}; expected finite values between -1e300 and 1e300, "
                "or -inf for what is impossible."
            )
        if name == "log_tail" and largest > 0:
            raise ValueError("log_tail is above 0; expected the log of a probability.")


def computable(p: Potentials) -> Tensor:
    """(R,) models whose tables are in order: entries -inf, or finite and far from overflow."""
    fits = torch.ones(p.n_restarts, dtype=torch.bool, device=p.log_emission.device)
    for table in p.tables().values():
        table = table.detach()
        if table.device.type == "cpu":
            least, largest = _range(table)
            if largest <= _LARGEST and not (least < -_LARGEST and _has_entries_below(table, -_LARGEST)):
                continue
        fits &= _are_in_order(table).flatten(1).all(1)
    return fits


def _is_in_order(p: Potentials) -> Tensor:
    """Whether all tables are, on their device: what the host has to wait for once."""
    found = torch.stack([_are_in_order(table.detach()).all() for table in p.tables().values()]).all()
    return found if p.log_tail is None else found & (p.log_tail.detach() <= 0).all()


def _are_in_order(table: Tensor) -> Tensor:
    return table.isneginf() | (table.abs() <= _LARGEST)


def _range(table: Tensor) -> tuple[float, float]:
    """The least and largest entry, NaN if there is one.

    NumPy's threads do not stay awake to compete with the kernels'.
    """
    if not table.numel():
        return math.inf, -math.inf
    if table.device.type == "cpu":
        entries = table.resolve_neg().numpy()
        return float(entries.min()), float(entries.max())
    least, largest = table.aminmax()
    return float(least), float(largest)


def _has_entries_below(table: Tensor, bound: float) -> bool:
    """Finite ones."""
    return bool(((table < bound) & ~table.isneginf()).any())


class _LogPartition(torch.autograd.Function):
    """Forward is the log-likelihood, backward the expected counts."""

    @staticmethod
    def forward(
        ctx: Any, p: Potentials, kernel: KernelName, names: tuple[str, ...], with_counts: bool, *tables: Tensor
    ) -> Tensor:
        ctx.p, ctx.kernel, ctx.names = p, kernel, names
        ctx.counts = choose("expected_counts", p, kernel).expected_counts(p) if with_counts else None
        ctx.save_for_backward(*tables)
        if ctx.counts is None:
            return choose("log_partition", p, kernel).log_partition(p)
        return ctx.counts.log_likelihood.to(p.log_emission.dtype, copy=True)  # the graph must not hold itself

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        made = ctx.counts if bool((gradient == 1.0).all()) else None
        slopes = _ExpectedCounts.apply(ctx.p, ctx.kernel, ctx.names, made, gradient, *ctx.saved_tensors)
        return (None, None, None, None, *slopes)


class _ExpectedCounts(torch.autograd.Function):
    """The slopes in every table, tied to the tables so that a second derivative raises and is not 0."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ARG004
        p: Potentials,
        kernel: KernelName,
        names: tuple[str, ...],
        made: Posterior | None,
        gradient: Tensor,
        *tables: Tensor,  # noqa: ARG004
    ) -> tuple[Tensor, ...]:
        counts = choose("expected_counts", p, kernel).expected_counts(p, gradient) if made is None else made
        return tuple(_gradient(p, counts, name) for name in names)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:  # noqa: ARG004
        raise RuntimeError("log_partition can be differentiated only once; its gradient has no derivative.")


def _gradient(p: Potentials, counts: Posterior, table: str) -> Tensor:
    if table == "log_tail":
        odds = torch.exp(p.log_tail) / -torch.expm1(p.log_tail)  # type: ignore[arg-type]
        return counts.tail_stay - torch.where(counts.tail_leave > 0, counts.tail_leave * odds, 0.0)
    return getattr(counts, {"log_emission": "state"}.get(table, table.removeprefix("log_")))
