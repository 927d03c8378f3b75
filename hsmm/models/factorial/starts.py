"""Where a fit begins: levels are the sizes of the steps that the sum makes (Hart 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm.components.duration import Duration
from hsmm.components.initial import Initial
from hsmm.components.transition import Transition
from hsmm.models.factorial.additive import Additive, Chain
from hsmm.sequences import Sequences

_NORMAL = 0.6745  # median of |z|
_OUTSTANDING = 4.0  # standard deviations of the noise
_ALIKE = 3.0  # standard deviations of the noise
_MOST_STEPS = 2_000  # of which distances are taken
_FIRST_NOISE = 0.1  # of the variance: chains are not certain before their levels are
_LOWEST = 0.05  # quantile of what is always there


@dataclass(frozen=True)
class Structure:
    """The families that every chain is made of, and how many states each has."""

    n_states: Sequence[int]
    initial: Initial
    transition: Transition
    duration: Duration | None


def first_models(structure: Structure, sequences: Sequences, n_restarts: int, generator: torch.Generator) -> Additive:
    """Random models of this structure: each chain's levels are a few of the steps seen, one on top of the other."""
    steps, noise = _steps(sequences)
    f, n_chains = sequences.n_features, len(structure.n_states)
    chosen = _common(steps, _ALIKE * noise, n_restarts, sum(structure.n_states) - n_chains, generator)
    chains = []
    for k, own in zip(structure.n_states, chosen.split([k - 1 for k in structure.n_states], 1), strict=True):
        level = torch.cat([torch.zeros(n_restarts, 1, f, dtype=torch.float64), own], 1)
        dwell = torch.full((n_restarts, k), max(2.0, sequences.n_rows * n_chains / (len(steps) + 1.0)))
        chains.append(started(structure, dwell.double(), sequences, generator, level))
    base = torch.stack(
        [values[seen].quantile(_LOWEST) for values, seen in zip(sequences.values.T, sequences.observed.T, strict=True)]
    )
    variance = torch.maximum(noise.square(), _FIRST_NOISE * sequences.moments[1])
    return Additive(tuple(chains), base.expand(n_restarts, f).clone(), variance.expand(n_restarts, f).clone())


def started(
    structure: Structure, dwell: Tensor, sequences: Sequences, generator: torch.Generator, level: Tensor
) -> Chain:
    """A chain with these levels (R, K, F) whose states last about ``dwell`` (R, K) rows."""
    duration = None if structure.duration is None else structure.duration.initialise(dwell)
    transition = replace(structure.transition, self_transitions=duration is None)
    return Chain(
        initial=structure.initial.initialise(*dwell.shape),
        transition=transition.initialise(sequences, dwell, generator),
        duration=duration,
        level=level,
    )


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


def _steps(sequences: Sequences) -> tuple[Tensor, Tensor]:
    """(M, F) the steps from row to row that stand out, upward; and (F,) the noise that they stand out from."""
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
        return spread[None], noise
    return torch.where(steps.sum(1, keepdim=True) < 0, -steps, steps), noise
