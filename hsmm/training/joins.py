"""Neighbours of a fitted model whose visits are few: a part of one state's rows joins another, whose law is refitted.

EM leaves a run of rows where its present law explains it best. Where a run is much of what a state is, the law of
another state may explain it as well, once it has it: which only a move of all its rows at once can tell. What
Hartigan & Wong (1979) do for single points of k-means, this does for the halves of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.training.objective import Objective

_FEW = 20  # visits of a state, on average
_TARGETS = 4  # of a half
_MOST = 1024  # laws refitted at once


@dataclass(frozen=True)
class Join:
    """The rows of one ``half`` of the state ``source``, halved in one of several ways, become rows of ``target``."""

    source: int
    target: int
    way: int = field(compare=False)
    half: int = field(compare=False)

    @property
    def states(self) -> set[int]:
        return {self.source, self.target}


def ranked_joins(model: Model, objective: Objective, weights: Tensor, own: Tensor, shares: Tensor) -> list[Join]:
    """Of each pair of states the best join, those first whose laws, refitted, gain most; none where visits are many.

    ``weights`` (N, K) are the states' posteriors, ``own`` (N, K) their laws' log-densities, ``shares`` (S, N, K) what
    second halves take of their rows.
    """
    n_states = weights.shape[1]
    path = weights.argmax(1)
    if int(_begins(path, objective).sum()) > _FEW * n_states:
        return []
    halves = torch.stack([1.0 - shares, shares]) * weights  # (half, way, row, source)
    elsewhere = torch.einsum("hwns,nt->hwst", halves, own.nan_to_num(0.0, 0.0, -1e6))
    elsewhere.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
    n_targets = min(_TARGETS, n_states - 1, max(1, _MOST // (2 * 2 * len(shares) * n_states)))
    target = elsewhere.topk(n_targets, dim=-1).indices.flatten()
    numbers = (torch.arange(n, device=target.device) for n in (*elsewhere.shape[:3], n_targets))
    half, way, source, _ = (x.flatten() for x in torch.meshgrid(*numbers, indexing="ij"))
    part = halves[half, way, :, source].mT
    changed = torch.cat([weights[:, source] - part, weights[:, target] + part], 1)
    laws = model.emission.permuted(torch.cat([source, target]))
    laws = laws.maximise(objective.sequences, changed[None].contiguous())
    reached = _expected(changed, laws.log_potentials(objective.sequences)[0]).view(2, -1).sum(0)
    stood = _expected(weights, own)
    gain = (reached - stood[source] - stood[target]).nan_to_num(-torch.inf)
    order = gain.argsort(descending=True, stable=True)
    ranked = torch.stack([source, target, way, half], 1)[order[gain[order].isfinite()]].tolist()
    return list(dict.fromkeys(Join(*each) for each in ranked))


def joined_counts(
    model: Model, counts: Posterior, objective: Objective, shares: Tensor, joins: Sequence[Join]
) -> Posterior:
    """Counts (M, ...) that differ by what the most probable path does when rows of which a half has most, by its
    ``shares`` (M, N), are the target's."""
    numbers = torch.tensor([(join.source, join.target, join.half) for join in joins], device=shares.device)
    source, target, half = numbers.mT.unsqueeze(-1)
    path = counts.state.argmax(2)
    goes = (path == source) & ((shares > 0.5) == half.bool())
    before, after = (_counted(model, counts, objective, way) for way in (path, torch.where(goes, target, path)))
    changed = {name: (getattr(counts, name) + after[name] - before[name]).clamp(min=0.0) for name in after}
    return replace(counts, **changed)


def _begins(path: Tensor, objective: Objective) -> Tensor:
    """(..., N) whether a visit begins with a row."""
    begins = torch.ones_like(path, dtype=torch.bool)
    begins[..., 1:] = path[..., 1:] != path[..., :-1]
    begins[..., objective.sequences.offsets[:-1]] = True
    return begins


def _counted(model: Model, counts: Posterior, objective: Objective, path: Tensor) -> dict[str, Tensor]:
    """What paths (M, N) count: rows, first states, moves, and durations of the segments that end within their
    series."""
    n_states, offsets, begins = counts.state.shape[-1], objective.sequences.offsets, _begins(path, objective)
    once = counts.state.new_ones(path.shape[1])
    if objective.weight is not None:
        once = objective.weight.to(once).repeat_interleave(objective.sequences.lengths)
    rows = once.unsqueeze(1) * torch.nn.functional.one_hot(path, n_states)
    moves = torch.ones_like(begins) if model.duration is None else begins.clone()
    moves[:, offsets[:-1]] = False
    of_path, to = moves.nonzero().unbind(1)
    found = {
        "state": rows,
        "initial": rows[:, offsets[:-1]].sum(1),
        "transition": _tallied(counts.transition, (of_path, path[of_path, to - 1], path[of_path, to]), once[to]),
    }
    if model.duration is not None:
        of_path, starts = begins.nonzero().unbind(1)
        ends = starts.roll(-1)
        ends[ends == 0] = path.shape[1]  # the first row of the next path
        whole = ~torch.isin(ends, offsets[1:])
        of_path, starts, ends = of_path[whole], starts[whole], ends[whole]
        length = (ends - starts).clamp(max=counts.duration.shape[-1])
        found["duration"] = _tallied(counts.duration, (of_path, path[of_path, starts], length - 1), once[starts])
    return found


def _tallied(like: Tensor, place: tuple[Tensor, ...], times: Tensor) -> Tensor:
    return torch.zeros_like(like).index_put(place, times.to(like), accumulate=True)


def _expected(weights: Tensor, density: Tensor) -> Tensor:
    return torch.where(weights > 1e-12, weights * density, 0.0).sum(0)
