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


@dataclass(frozen=True)
class Restart:
    """How one restart went; ``stopped`` says why it ended."""

    restart: int
    iterations: int
    objective: float
    stopped: str


@dataclass(frozen=True, eq=False)
class Climbed:
    """R models, the ``bound`` (R,) they reached, what it was before each M-step and at the end (iterations + 1, R), and
    which stopped because they gained no more."""

    model: Additive
    bound: Tensor
    history: Tensor
    converged: Tensor

    @property
    def n_iter(self) -> int:
        return len(self.history) - 1

    def of(self, restart: int) -> Climbed:
        """One of them alone."""
        own = torch.tensor([restart])
        return Climbed(self.model.take(own), self.bound[own], self.history[:, own], self.converged[own])

    def how(self, restart: int) -> str:
        return "converged" if bool(self.converged[restart]) else "max_iter"


def best_of(
    model: Additive, sequences: Sequences, expect: Expect, max_iter: int, tol: float, floor: Tensor
) -> tuple[Climbed, list[Restart]]:
    """Climb from every start for a while, and to the top from the most promising: the best, and how each went."""
    tried = climb(model, sequences, expect, min(_TRIAL, max_iter), tol, floor)
    n_kept = min(max(_FEWEST, len(tried.bound) // _FEWER), len(tried.bound))
    kept = tried.bound.nan_to_num(-torch.inf).topk(n_kept).indices
    ended = climb(tried.model.take(kept), sequences, expect, max_iter - tried.n_iter, tol, floor)
    log = [Restart(r, tried.n_iter, float(bound), "set aside") for r, bound in enumerate(tried.bound)]
    for place, r in enumerate(kept.tolist()):
        log[r] = Restart(r, tried.n_iter + ended.n_iter, float(ended.bound[place]), ended.how(place))
    top = int(ended.bound.argmax())
    history = torch.cat([tried.history[:-1, kept[top], None], ended.history[:, top, None]])
    return replace(ended.of(top), history=history), log


def climb(model: Additive, sequences: Sequences, expect: Expect, max_iter: int, tol: float, floor: Tensor) -> Climbed:
    """M-steps until none of the models gains ``tol`` nats a row, or ``max_iter`` were made."""
    expected, history = None, []
    before = torch.full_like(model.base[:, 0], -torch.inf)
    for iteration in range(max_iter + 1):
        expected = expect(model, sequences, expected)
        history.append(expected.bound)
        converged = expected.bound - before <= tol * sequences.n_rows
        if iteration == max_iter or bool(converged.all()):
            break
        before = expected.bound
        model = _maximised(model, sequences, expected, floor)
    return Climbed(model, history[-1], torch.stack(history), converged)


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
