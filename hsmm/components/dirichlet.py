"""Dirichlet priors on rows of probabilities: their modes, also where those lie on the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsmm.numerics import surely_none

FLOOR = 1e-10
"""The least probability of a cell whose Dirichlet concentration is below 1: 0 would have infinite density."""


def dirichlet_mode(
    counts: Tensor, concentration: float | Tensor, fallback: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """Mode of a Dirichlet posterior over the last axis; the fallback where nothing speaks for any value.

    ``concentration`` is a number or broadcasts against ``counts``; ``allowed`` masks the cells that may be positive.
    Cells with a concentration below 1 hold at least ``FLOOR``, without which there may be no mode.
    """
    weight = counts + (concentration - 1.0)
    if allowed is not None:
        weight = torch.where(allowed, weight, 0.0)
    if is_sparse(concentration):
        return _floored_mode(weight, floors(concentration, counts, allowed), fallback, allowed)
    total = weight.sum(-1, keepdim=True)
    return torch.where(total > 0, weight / total.clamp(min=torch.finfo(weight.dtype).tiny), fallback)


def _floored_mode(weight: Tensor, floor: Tensor, fallback: Tensor, allowed: Tensor | None) -> Tensor:
    """The maximiser of Σ weight · log p over laws p >= floor.

    Cells of weight <= 0 are best at their floor, and those whose share is less join them; the others share the rest.
    Where no weight is positive the objective is convex, so its maximum is a vertex: all the rest to the best cell.
    """
    possible = torch.ones_like(weight, dtype=torch.bool) if allowed is None else allowed
    sharing = weight > 0
    for _ in range(weight.shape[-1]):
        shares = _shared(torch.where(sharing, weight, 0.0), torch.where(sharing, 0.0, floor))
        low = sharing & (shares < floor)
        if surely_none(low):
            break
        sharing = sharing & ~low
    best = possible & (weight == weight.masked_fill(~possible, -torch.inf).amax(-1, keepdim=True))
    likeliest = best & (fallback == fallback.masked_fill(~best, -torch.inf).amax(-1, keepdim=True))
    first = likeliest & (likeliest.cumsum(-1) == 1)
    flat = best & (weight == 0)  # cells without a prior or counts, among which nothing decides: as they were
    kept = torch.where(flat, fallback, 0.0)
    vertex = torch.where(kept.sum(-1, keepdim=True) > 0, kept, first.to(weight.dtype))
    alone = _shared(vertex, torch.where(vertex > 0, 0.0, floor))
    return torch.where((weight > 0).any(-1, keepdim=True), shares, alone)


def _shared(weight: Tensor, given: Tensor) -> Tensor:
    """What is ``given``, and the rest in proportion to ``weight``."""
    total = weight.sum(-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    return torch.where(weight > 0, weight / total * (1.0 - given.sum(-1, keepdim=True)), given)


def is_sparse(concentration: float | Tensor) -> bool:
    """Whether any concentration is below 1, so that the prior has its peaks where probabilities vanish."""
    return bool((concentration < 1.0).any()) if isinstance(concentration, Tensor) else concentration < 1.0


def floors(concentration: float | Tensor, like: Tensor, allowed: Tensor | None = None) -> Tensor:
    """The least probability of each cell: ``FLOOR`` under a concentration below 1, else 0."""
    sparse = torch.as_tensor(concentration, device=like.device) < 1.0
    if allowed is not None:
        sparse = sparse & allowed
    return (FLOOR * sparse.to(like.dtype)).expand(like.shape)


def floored(probability: Tensor, concentration: float | Tensor, allowed: Tensor | None = None) -> Tensor:
    """The law with its cells raised to their :func:`floors`, the others scaled to make room; itself if none is."""
    if not is_sparse(concentration):
        return probability
    floor = floors(concentration, probability, allowed)
    low = probability < floor
    if surely_none(low):
        return probability
    return _shared(torch.where(low, 0.0, probability), torch.where(low, floor, 0.0))


def dirichlet_log_density(probability: Tensor, concentration: float | Tensor) -> Tensor:
    """Σ (concentration - 1) log p over the last axis, up to a constant; cells that cannot be positive add nothing."""
    if isinstance(concentration, float) and concentration == 1.0:
        return probability.new_zeros(probability.shape[:-1])
    positive = probability > 0
    return torch.where(positive, (concentration - 1.0) * probability.where(positive, 1.0).log(), 0.0).sum(-1)


def as_concentration(concentration: Any, ndim: int) -> float | tuple[Any, ...]:
    """A concentration as plain numbers: one, or nested tuples of ``ndim`` axes; all > 0."""
    try:
        array = np.asarray(concentration)
    except ValueError:
        array = np.asarray(None)
    array = array.astype(np.float64) if array.dtype.kind in "iuf" else np.asarray(np.nan)
    if array.ndim not in (0, ndim) or array.size == 0 or not (np.isfinite(array) & (array > 0)).all():
        axes = "(n_states,)" if ndim == 1 else "(n_states, n_states)"
        raise ValueError(f"concentration is {concentration!r}; expected a number > 0 (1 is no prior) or such {axes}.")
    return as_tuples(array.tolist())


def as_tuples(value: Any) -> Any:
    """Nested lists as nested tuples, which nobody can change."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def reordered(table: Any, order: Tensor) -> Any:
    """Nested tuples (K, K), their states renamed so that state ``order[k]`` becomes state k."""
    return tuple(tuple(table[i][j] for j in order.tolist()) for i in order.tolist())


def concentration_for(concentration: float | Sequence[Any], like: Tensor) -> float | Tensor:
    """The concentration in a shape that broadcasts against ``like`` (R, ..., n_states)."""
    if isinstance(concentration, (int, float)):
        return concentration
    table = torch.tensor(concentration, dtype=like.dtype, device=like.device)
    if table.shape != like.shape[1:]:
        raise ValueError(
            f"concentration has shape {tuple(table.shape)}, but the model needs {tuple(like.shape[1:])}, "
            "one for each probability."
        )
    return table


def check_concentration(concentration: float) -> None:
    if not concentration >= 1.0:
        raise ValueError(f"concentration is {concentration}; expected a number >= 1 (1 is no prior).")
