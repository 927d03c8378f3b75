"""Neighbours of a fitted model: one state split in two, two states made one (Ueda, Nakano, Ghahramani & Hinton 2000).

A climb by small steps cannot carry a state from where there are too many to where there are too few. Which states to
split is judged by a mixture of two laws on a state's own rows and on the states before and after these; which to merge,
by how their posterior weights overlap, and by what one such law loses to two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, zip_longest
from typing import TypeAlias

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.training.joins import Join, joined_counts, ranked_joins
from hsmm.training.objective import Objective

_REFINEMENTS = 2
_SEPARATION = 3.0
_PAIRS = 3  # a state
_POWERS = 20  # of a spread, applied to any direction
_EVEN = 0.1  # of the moves of a split state, shared by its halves by their size alone
_REPEATS = 3  # of a split, or of a merge
_REVIVED = 0.1  # of the probability that leaves a state


def can_move(model: Model, objective: Objective) -> bool:
    """Whether states may change places: none is known, frozen or tied to its place, and no chain reads a context."""
    return (
        model.transition.n_states > 2
        and model.is_divisible
        and not any(part.uses_covariates for kind, part in model.components().items() if kind != "emission")
        and not objective.frozen
        and objective.states is None
    )


@dataclass(frozen=True)
class Move:
    """``split`` this state, in one of several ways, after the second of a ``pair`` has become one with the first."""

    split: int
    pair: tuple[int, int]
    way: int = field(compare=False)

    @property
    def states(self) -> set[int]:
        return {self.split, *self.pair}


Way: TypeAlias = tuple[Move | Join, ...]
"""Moves made together, which share no state."""


class Neighbourhood:
    """The ``moves`` of the states of a model, those that promise most first, and the models that they make."""

    def __init__(self, model: Model, objective: Objective, generator: torch.Generator) -> None:
        self._model, self._objective = model, objective
        self._counts = objective.expected_counts(objective.potentials(model))
        weights = self._counts.state
        density = model.emission.log_potentials(objective.sequences)[0]
        around = _around(weights[0], objective)
        self._shares, gains = _splits(model, objective, weights, density, around, generator)
        pairs, losses = _merges(model, objective, weights[0], density, around)
        self.moves = _ranked_moves(gains, pairs, losses)
        self.joins = ranked_joins(model, objective, weights[0], density, self._shares)

    def most_promising(self, n_moves: int, tried: Collection[Move | Join]) -> list[Move | Join]:
        """At most so many moves, and so many joins, that were not ``tried``; no split or merge takes part in many."""
        splits: Counter[int] = Counter()
        merges: Counter[tuple[int, int]] = Counter()
        taken: list[Move | Join] = []
        for move in self.moves:
            if len(taken) == n_moves:
                break
            if move not in tried and splits[move.split] < _REPEATS and merges[move.pair] < _REPEATS:
                splits[move.split] += 1
                merges[move.pair] += 1
                taken.append(move)
        return taken + [join for join in self.joins if join not in tried][:n_moves]

    def after(self, ways: Sequence[Way]) -> Model:
        """Models after one M-step, each from the moves of one of the ``ways`` together, which share no state.

        The way without moves, which may be the first, is that to the :meth:`revived` model.
        """
        if not ways[0]:
            return self.revived().joined(*([self.after(ways[1:])] if ways[1:] else []))
        objective, device = self._objective, self._shares.device
        counts = objective.counts_of(self._counts, torch.zeros(len(ways), dtype=torch.int64, device=device))
        for made in zip_longest(*ways):
            if moves := {place: move for place, move in enumerate(made) if isinstance(move, Move)}:
                at, own = torch.tensor(list(moves), device=device), list(moves.values())
                shares = self._shares[[move.way for move in own], :, [move.split for move in own]]
                changed = moved_counts(objective.counts_of(counts, at), objective, shares, own)
                counts = objective.with_counts(counts, at, changed)
            if joins := {place: join for place, join in enumerate(made) if isinstance(join, Join)}:
                at, both = torch.tensor(list(joins), device=device), list(joins.values())
                shares = self._shares[[join.way for join in both], :, [join.source for join in both]]
                changed = joined_counts(self._model, objective.counts_of(counts, at), objective, shares, both)
                counts = objective.with_counts(counts, at, changed)
        first, *others = (self._model.permuted(self._order(moves)) for moves in ways)
        return objective.maximise(_with_rows(first.joined(*others)), counts)

    def revived(self) -> Model:
        """The model with a part of each row of transitions shared by all states: what is zero, EM leaves at zero."""
        model = self._model
        law = model.transition.parameters.get("probability")
        if law is None:
            return model
        others = torch.ones_like(law) if model.duration is None else 1.0 - torch.eye(law.shape[-1]).to(law)
        shared = torch.lerp(law, others / others.sum(-1, keepdim=True), _REVIVED)
        return replace(model, transition=model.transition.with_parameters(probability=shared))

    def _order(self, moves: Way) -> Tensor:
        """(K,) which state's law each state begins with: one that is split gives its own to the one made free."""
        order = torch.arange(self._model.transition.n_states, device=self._shares.device)
        for move in moves:
            if isinstance(move, Move):
                order[move.pair[1]] = order[move.split]
        return order


def _around(weights: Tensor, objective: Objective) -> Tensor:
    """(2, N, K) the weights of the states one row before and one row after, none beyond the ends of a series."""
    before, after = weights.roll(1, 0), weights.roll(-1, 0)
    before[objective.sequences.offsets[:-1]] = 0.0
    after[objective.sequences.offsets[1:] - 1] = 0.0
    return torch.stack([before, after])


def _shifted(rows: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """Rows (..., N) one row earlier and one row later, none of them in another series."""
    offsets = objective.sequences.offsets
    earlier = rows.index_fill(-1, offsets[:-1], 0.0).roll(-1, -1)
    return earlier, rows.index_fill(-1, offsets[1:] - 1, 0.0).roll(1, -1)


def _log_context(weights: Tensor, around: Tensor) -> Tensor:
    """(..., N, M) the log-probability of what is around each row, by the laws of rows of these weights (..., N, M)."""
    total = torch.zeros_like(weights)
    for beside in around:
        met = weights.mT @ beside + 1.0 / beside.shape[1]
        total = total + beside @ (met / met.sum(-1, keepdim=True)).log().mT
    return total


def _splits(
    model: Model, objective: Objective, weights: Tensor, own: Tensor, around: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(S, N, K) the share of each row that the second half of its state takes, in S ways, and (S, K) nats gained."""
    n_states, law = weights.shape[-1], model.emission
    start = _halves(model, objective, weights[0], around, generator)
    whole = own + _log_context(weights[0], around)
    n_ways = len(start)
    twice = torch.arange(n_states, device=weights.device).repeat_interleave(2)
    pairs = law.permuted(twice).take(twice.new_zeros(n_ways))
    share = start
    for _ in range(_REFINEMENTS):
        halves = torch.stack([weights * (1.0 - share), weights * share], -1)
        mixing = (halves.sum(1) / weights.sum(1).unsqueeze(-1).clamp(min=1e-300)).clamp(min=1e-300).log()
        halves = halves.flatten(2).contiguous()
        pairs = pairs.maximise(objective.sequences, halves)
        density = pairs.log_potentials(objective.sequences) + _log_context(halves, around)
        density = density.unflatten(2, (n_states, 2)) + mixing.unsqueeze(1)
        share = (density[..., 1] - density[..., 0]).sigmoid().nan_to_num(0.5)
    gain = torch.where(weights > 1e-12, weights * (density.logsumexp(-1) - whole), 0.0).sum(1)
    return share, gain.nan_to_num(-torch.inf)


def _halves(model: Model, objective: Objective, weights: Tensor, around: Tensor, generator: torch.Generator) -> Tensor:
    """(S, N, K) rough halves of each state's rows.

    Along their widest direction, by fit, along any direction, and along that in which what is around them differs most.
    """
    points = model.emission.points(objective.sequences).to(weights)
    mass = weights.sum(0).clamp(min=1e-300)
    away = points.unsqueeze(1) - weights.mT @ points / mass.unsqueeze(-1)
    spread = torch.einsum("nk,nki,nkj->kij", weights, away, away) / mass[:, None, None]
    along = torch.einsum("nki,ki->nk", away, torch.linalg.eigh(spread)[1][..., -1])
    drawn = torch.randn((len(mass), points.shape[1]), generator=generator, dtype=points.dtype).to(points.device)
    across = torch.einsum("nki,ki->nk", away, drawn)
    fit = -model.emission.log_potentials(objective.sequences)[0]
    beside = _along_context(torch.cat([*around], 1), weights, mass, generator)
    return torch.stack([_soft(height, weights, mass) for height in (along, fit, across, beside)])


def _along_context(beside: Tensor, weights: Tensor, mass: Tensor, generator: torch.Generator) -> Tensor:
    """(N, K) how far what is beside each row (N, 2K) lies along about the widest direction of each state's rows."""
    centre = weights.mT @ beside / mass.unsqueeze(-1)
    way = torch.randn(centre.shape, generator=generator, dtype=centre.dtype).to(centre.device)
    for _ in range(_POWERS):
        height = beside @ way.mT - (centre * way).sum(-1)
        way = (weights * height).mT @ beside - (weights * height).sum(0).unsqueeze(-1) * centre
        way = way / way.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    return beside @ way.mT - (centre * way).sum(-1)


def _soft(height: Tensor, weights: Tensor, mass: Tensor) -> Tensor:
    """Shares that rise with the height about its weighted mean, in units of its spread."""
    height = height.nan_to_num(0.0, 0.0, 0.0)
    mean = (weights * height).sum(0) / mass
    size = ((weights * (height - mean) ** 2).sum(0) / mass).sqrt()
    return (_SEPARATION * (height - mean) / size.clamp(min=1e-300)).sigmoid().nan_to_num(0.5)


def _merges(
    model: Model, objective: Objective, weights: Tensor, own: Tensor, around: Tensor
) -> tuple[list[tuple[int, int]], Tensor]:
    """The pairs of states most alike, and (P,) the nats that one law on their rows loses to a mixture of their two."""
    product = weights.mT @ weights
    size = product.diagonal().clamp(min=1e-300).sqrt()
    alike = product / (size[:, None] * size)
    n_states = len(alike)
    every = sorted(combinations(range(n_states), 2), key=lambda pair: -float(alike[pair]))[: _PAIRS * n_states]
    first, second = torch.tensor(every, device=weights.device).unbind(1)
    joint = weights[:, first] + weights[:, second]
    merged = model.emission.permuted(first).maximise(objective.sequences, joint[None].contiguous())
    mass = weights.sum(0).clamp(min=1e-300)
    total = mass[first] + mass[second]
    own = own + _log_context(weights, around)
    mixture = torch.logaddexp(
        own[:, first] + (mass[first] / total).log(), own[:, second] + (mass[second] / total).log()
    )
    one = merged.log_potentials(objective.sequences)[0] + _log_context(joint, around)
    loss = torch.where(joint > 1e-12, joint * (mixture - one), 0.0).sum(0)
    return every, loss.nan_to_num(torch.inf)


def _ranked_moves(gains: Tensor, pairs: list[tuple[int, int]], losses: Tensor) -> list[Move]:
    """Every split of a state, in its best way, with every merge of two others: those that promise most first."""
    best, way = gains.max(0)
    promise = (best[:, None] - losses).flatten()
    order = promise.argsort(descending=True)
    places = order[promise[order].isfinite()].tolist()
    ranked = [(place // len(pairs), pairs[place % len(pairs)]) for place in places]
    ways = way.tolist()
    return [Move(split, pair, ways[split]) for split, pair in ranked if split not in pair]


def moved_counts(counts: Posterior, objective: Objective, shares: Tensor, moves: Sequence[Move]) -> Posterior:
    """Counts (M, ...) by which the second of each pair is the second half of a split state, whose rows it ``shares``
    (M, N)."""
    each = torch.arange(len(moves), device=shares.device)
    split, first, freed = torch.tensor([(move.split, *move.pair) for move in moves], device=shares.device).unbind(1)
    unit = torch.eye(counts.state.shape[-1], dtype=torch.float64, device=shares.device)
    mixing = unit.repeat(len(moves), 1, 1)
    mixing[each, freed] = unit[first]
    state = counts.state @ mixing
    whole = state[each, :, split]
    halves = torch.stack([whole * (1.0 - shares), whole * shares], 1)
    block = torch.stack([split, freed], 1)
    state[each.unsqueeze(1), :, block] = halves
    mass = whole.sum(1).clamp(min=1e-300)
    parts = halves.sum(2) / mass.unsqueeze(1)
    sharing = unit.repeat(len(moves), 1, 1)
    sharing[each.unsqueeze(1), split.unsqueeze(1), block] = parts
    spread = mixing @ sharing
    transition = spread.mT @ counts.transition @ spread
    merged = mixing.mT @ counts.transition @ mixing
    before, after = _shifted(halves, objective)
    met = torch.stack([before @ counts.state, after @ counts.state]) @ mixing  # (side, M, half, K)
    met = met.clamp(min=1e-300)
    into, out = torch.lerp(met / met.sum(2, keepdim=True), parts.unsqueeze(-1).expand_as(met), _EVEN)
    transition[each.unsqueeze(1), block] = merged[each, split].unsqueeze(1) * out
    transition[each.unsqueeze(1), :, block] = merged[each, :, split].unsqueeze(1) * into
    within = after @ halves.mT
    stayed = merged[each, split, split] / within.sum((1, 2)).clamp(min=1e-300)
    transition[each[:, None, None], block.unsqueeze(2), block.unsqueeze(1)] = stayed[:, None, None] * within
    changed = {
        "state": state,
        "transition": transition,
        **{name: spread.mT @ getattr(counts, name) for name in ("duration", "residual")},
        **{
            name: (getattr(counts, name).unsqueeze(1) @ spread).squeeze(1)
            for name in ("initial", "tail_stay", "tail_leave")
        },
    }
    return replace(counts, **changed)


def _with_rows(model: Model) -> Model:
    """The model with rows of probability that sum to one again, where states were copied."""
    changed = {}
    for kind in ("initial", "transition"):
        part = model.components()[kind]
        law = part.parameters.get("probability")
        if law is not None:
            law = law + 1e-3 * (law.sum(-1, keepdim=True) == 0)
            changed[kind] = part.with_parameters(probability=law / law.sum(-1, keepdim=True))
    return replace(model, **changed)
