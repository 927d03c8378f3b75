"""Where chains begin: levels are the sizes of the steps that their sum makes (Hart 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hsmm.sequences import Sequences

_NORMAL = 0.6745  # median of |z|
_OUTSTANDING = 4.0  # standard deviations of the noise
_ALIKE = 3.0  # standard deviations of the noise
_MOST_STEPS = 2_000  # of which distances are taken
_LOWEST = 0.05  # quantile of what is always there


@dataclass(frozen=True, eq=False)
class FirstLevels:
    """For each chain ``levels`` (R, k, F), the first of them 0, above a ``base`` (F,) that is always there.

    ``noise`` (F,) is the standard deviation of what steps stand out from, ``n_steps`` how many do.
    """

    levels: list[Tensor]
    base: Tensor
    noise: Tensor
    n_steps: int


def first_levels(
    chains: Sequence[int], sequences: Sequences, n_restarts: int, generator: torch.Generator
) -> FirstLevels:
    """Levels of chains of so many states: each takes a few of the steps seen, one for each state but its first."""
    steps, noise = _steps(sequences, generator)
    chosen = _common(steps, _ALIKE * noise, n_restarts, sum(chains) - len(chains), generator)
    zero = torch.zeros(n_restarts, 1, sequences.n_features, dtype=torch.float64)
    levels = [torch.cat([zero, own], 1) for own in chosen.split([k - 1 for k in chains], 1)]
    base = torch.stack(
        [values[seen].quantile(_LOWEST) for values, seen in zip(sequences.values.T, sequences.observed.T, strict=True)]
    )
    return FirstLevels(levels, base, noise, len(steps))


def _common(steps: Tensor, radius: Tensor, n_restarts: int, n: int, generator: torch.Generator) -> Tensor:
    """(R, n, F) steps drawn by how many others are like them, each unlike those before it while there are such.

    ``radius`` (F,) is how far alike ones may lie apart. The first restart takes the most common ones.
    """
    some = steps[torch.randperm(len(steps), generator=generator)[:_MOST_STEPS]]
    alike = ((some.unsqueeze(1) - some).abs() <= radius).all(-1)
    frequency = alike.sum(1).double().square()
    weight, chosen = frequency.expand(n_restarts, -1).clone(), []
    for _ in range(n):
        exhausted = weight.sum(1, keepdim=True) == 0
        weight = torch.where(exhausted, frequency, weight)
        drawn = torch.multinomial(weight, 1, generator=generator).squeeze(1)
        drawn[0] = weight[0].argmax()
        chosen.append(some[drawn])
        weight = weight.masked_fill(alike[drawn], 0.0)
    return torch.stack(chosen, 1)


def _steps(sequences: Sequences, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(M, F) the steps from row to row that stand out, upward; and (F,) the noise that they stand out from.

    Where none does, the distances of rows picked at random.
    """
    first = torch.zeros(sequences.n_rows, dtype=torch.bool)
    first[sequences.offsets[:-1]] = True
    known = sequences.observed.all(1)
    change = sequences.values.diff(dim=0)[(known[1:] & known[:-1]) & ~first[1:]]
    spread = sequences.moments[1].sqrt()
    if not len(change):
        return spread[None], spread
    noise = change.abs().median(0).values / (_NORMAL * 2.0**0.5)
    noise = torch.where(noise > 0, noise, 1e-3 * spread)
    steps = change[(change.abs() > _OUTSTANDING * 2.0**0.5 * noise).any(1)]
    if not len(steps):
        rows = sequences.values[known]
        other = rows[torch.randint(len(rows), (len(rows),), generator=generator)]
        steps = (rows - other)[: 10 * _MOST_STEPS]
    return torch.where(steps.sum(1, keepdim=True) < 0, -steps, steps), noise
