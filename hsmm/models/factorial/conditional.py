"""A few chains at a time, all others standing still: the likeliest paths, and paths drawn from their posterior.

Two chains of a Markov model move together, or what one takes over from the other would first have to be worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from hsmm import inference
from hsmm.models.factorial import exact
from hsmm.models.factorial.additive import Additive
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences

_MOST_SWEEPS, _STILL = 40, 3  # sweeps; in so many, in different pairs, no path may have changed
_PAIRED = 64  # states of two chains together


def climb(model: Additive, sequences: Sequences, paths: Tensor, generator: torch.Generator) -> Tensor:
    """Paths (R, N, C) of which no chain, nor two together, can leave its own for likelier ones."""
    still = 0
    for _ in range(_MOST_SWEEPS):
        before = paths
        paths = _sweep(model, sequences, paths, generator, lambda p: inference.viterbi(p).states)
        still = still + 1 if torch.equal(paths, before) else 0
        if still == _STILL:
            break
    return paths


def drawn(
    model: Additive, sequences: Sequences, paths: Tensor, n: int, burn_in: int, generator: torch.Generator
) -> Tensor:
    """(n, R, N, C) paths by blocked Gibbs sampling, one a sweep, after ``burn_in`` sweeps from ``paths``."""
    kept = []
    for sweep in range(burn_in + n):
        paths = _sweep(model, sequences, paths, generator, lambda p: inference.sample_paths(p, 1, generator)[0])
        if sweep >= burn_in:
            kept.append(paths)
    return torch.stack(kept)


def log_joint(model: Additive, sequences: Sequences, paths: Tensor) -> Tensor:
    """(R,) log p(paths, y)."""
    total = model.log_density(sequences, model.base.unsqueeze(1) + sum(model.along(paths))).sum(-1)
    for c, chain in enumerate(model.chains):
        states = torch.arange(chain.n_states)
        certain = torch.zeros((), dtype=torch.float64).where(paths[..., c, None] == states, -torch.inf)
        total = total + inference.log_partition(chain.potentials(certain, sequences.offsets)).sum(-1)
    return total


def _sweep(
    model: Additive,
    sequences: Sequences,
    paths: Tensor,
    generator: torch.Generator,
    choose: Callable[[Potentials], Tensor],
) -> Tensor:
    """Paths after every chain has been moved once."""
    paths, added = paths.clone(), model.along(paths)
    for block in _blocks(model, generator):
        rest = model.base.unsqueeze(1) + sum(other for c, other in enumerate(added) if c not in block)
        own = replace(model, chains=tuple(model.chains[c] for c in block))
        found = torch.unravel_index(choose(exact.potentials(own, sequences, rest)), own.n_states)
        for c, path in zip(block, found, strict=True):
            paths[..., c] = path
        for c, moved in zip(block, own.along(torch.stack(found, -1)), strict=True):
            added[c] = moved
    return paths


def _blocks(model: Additive, generator: torch.Generator) -> Iterator[tuple[int, ...]]:
    """All chains in random order, two by two where they have a product of moderate size."""
    order = torch.randperm(len(model.chains), generator=generator).tolist()
    while order:
        first = order.pop()
        if order and model.is_markov and model.n_states[first] * model.n_states[order[-1]] <= _PAIRED:
            yield first, order.pop()
        else:
            yield (first,)
