"""Where a fit of chains begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsmm.components.duration import Duration
from hsmm.components.factorial.steps import first_levels
from hsmm.components.initial import Initial
from hsmm.components.transition import Transition
from hsmm.models.factorial.additive import Additive, Chain
from hsmm.sequences import Sequences

_FIRST_NOISE = 0.1  # of the variance: chains are not certain before their levels are


@dataclass(frozen=True)
class Structure:
    """The families that every chain is made of, and how many states each has."""

    n_states: Sequence[int]
    initial: Initial
    transition: Transition
    duration: Duration | None


def first_models(structure: Structure, sequences: Sequences, n_restarts: int, generator: torch.Generator) -> Additive:
    """Random models of this structure: each chain's levels are a few of the steps seen, one on top of the other."""
    first = first_levels(structure.n_states, sequences, n_restarts, generator)
    f, chains = sequences.n_features, []
    for level in first.levels:
        lasting = max(2.0, sequences.n_rows * len(first.levels) / (first.n_steps + 1.0))
        dwell = torch.full(level.shape[:2], lasting, dtype=torch.float64)
        chains.append(started(structure, dwell, sequences, generator, level))
    variance = torch.maximum(first.noise.square(), _FIRST_NOISE * sequences.moments[1])
    return Additive(tuple(chains), first.base.expand(n_restarts, f).clone(), variance.expand(n_restarts, f).clone())


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
