"""Expectation-maximisation of additive chains, many restarts at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from hsmm.models.factorial.additive import Additive, Expected
from hsmm.models.factorial.levels import with_levels
from hsmm.sequences import Sequences

Expect: TypeAlias = Callable[[Additive, Sequences, Expected | None], Expected]
_TRIAL, _FEWER, _FEWEST = 20, 4, 2  # iterations after which one restart in so many goes on


@dataclass(frozen=True, eq=False)
class Climbed:
    """R models, the ``bound`` (R,) they reached, iterations, and which stopped because they gained no more."""

    model: Additive
    bound: Tensor
    n_iter: int
    converged: Tensor

    def best(self) -> Climbed:
        """The highest alone."""
        top = self.bound.argmax()[None]
        return replace(self, model=self.model.take(top), bound=self.bound[top], converged=self.converged[top])


def best_of(model: Additive, sequences: Sequences, expect: Expect, max_iter: int, tol: float, floor: Tensor) -> Climbed:
    """Climb from every start for a while, and to the top from the most promising."""
    trial = min(_TRIAL, max_iter)
    found = climb(model, sequences, expect, trial, tol, floor)
    n_kept = max(_FEWEST, len(found.bound) // _FEWER)
    kept = found.bound.nan_to_num(-torch.inf).topk(min(n_kept, len(found.bound))).indices
    ended = climb(found.model.take(kept), sequences, expect, max_iter - trial, tol, floor)
    return replace(ended.best(), n_iter=found.n_iter + ended.n_iter)


def climb(model: Additive, sequences: Sequences, expect: Expect, max_iter: int, tol: float, floor: Tensor) -> Climbed:
    """M-steps until none of the models gains ``tol`` nats a row, or ``max_iter`` were made."""
    expected: Expected | None = None
    before = torch.full_like(model.base[:, 0], -torch.inf)
    for iteration in range(max_iter + 1):
        expected = expect(model, sequences, expected)
        converged = expected.bound - before <= tol * sequences.n_rows
        if iteration == max_iter or bool(converged.all()):
            break
        before = expected.bound
        model = _maximised(model, sequences, expected, floor)
    return Climbed(model, expected.bound, iteration, converged)  # type: ignore[union-attr]


def _maximised(model: Additive, sequences: Sequences, expected: Expected, floor: Tensor) -> Additive:
    chains = zip(model.chains, expected.counts, strict=True)
    moved = replace(model, chains=tuple(chain.maximise(sequences, counts) for chain, counts in chains))
    return with_levels(moved, sequences, expected, floor)


def in_order(model: Additive, *, chains_too: bool) -> Additive:
    """The same law, the state of each chain that adds least being its first and adding nothing; ``chains_too`` sorts
    the chains by what they add at most, the largest first."""
    base, sorted_chains = model.base, []
    for chain in model.chains:
        order = chain.level[0, :, 0].argsort(stable=True)
        moved = chain.permuted(order)
        base = base + moved.level[:, 0]
        sorted_chains.append(replace(moved, level=moved.level - moved.level[:, :1]))
    if chains_too:
        sorted_chains.sort(key=lambda chain: -float(chain.level[0, -1, 0]))
    return replace(model, chains=tuple(sorted_chains), base=base)
