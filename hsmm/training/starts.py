"""Where restarts begin: rough assignments of rows to states, and rough dwell times.

No single recipe finds every optimum: clusters miss states that differ in spread, quantiles of distance miss states that
differ in place, and both miss states that only time tells apart. The kinds take turns over the restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from hsmm.components.base import Component
from hsmm.components.duration import Duration
from hsmm.components.emission.base import Emission, standardised
from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.levels import Levels, successions
from hsmm.training.stretches import stretches

_LLOYD_STEPS = 10
_SEEDING_ROWS = 10_000
_WIDTHS = (5, 20, 60)  # rows of the windows that take turns
_MANY = 8  # states, of which k-means++ alone would leave some without a centre


_Generators: TypeAlias = Sequence[torch.Generator]


@dataclass(frozen=True, eq=False)
class Starts:
    """``labels`` (R, N) rough states, ``mean_dwell`` (R, K) steps, and the ``kinds`` of the R restarts.

    Laws of the labels are as ``narrow`` (R,) as their rows, or as wide as those need that begin where no state is.
    """

    labels: Tensor
    mean_dwell: Tensor
    kinds: list[str]
    narrow: Tensor


def draw_starts(
    sequences: Sequences, n_states: int, n_restarts: int, longest: int, seed: int, emission: Emission | None = None
) -> Starts:
    """Starts for each restart; those of fewer restarts are the first of those of more.

    ``emission`` says which rows are alike, by its points; by default the standardised features do.
    """
    standard = (standardised(sequences) if emission is None else emission.points(sequences)).cpu()
    takes_any_number = emission is None or emission.takes_any_number(sequences.n_features)
    least_dof = None if emission is None else emission.least_dof
    levels = Levels(standard, sequences, n_states, least_dof) if takes_any_number else None
    turns = _turns(n_states, has_levels=levels is not None and levels.is_usable)
    kinds = [turns[restart % len(turns)] for restart in range(n_restarts)]
    generators = [torch.Generator().manual_seed((seed * 1_000_003 + i) % 2**63) for i in range(n_restarts)]
    labels = torch.empty(n_restarts, sequences.n_rows, dtype=torch.int64)
    for kind in dict.fromkeys(kinds):
        of_kind = [restart for restart, own in enumerate(kinds) if own == kind]
        if kind == "levels":
            assert levels is not None
            labels[of_kind] = torch.stack([levels.labels(turn) for turn in range(len(of_kind))])
        else:
            labels[of_kind] = KINDS[kind](standard, sequences, n_states, [generators[i] for i in of_kind])
    is_narrow = [kind == "levels" or (kind != "random" and turn % 2 == 0) for turn, kind in enumerate(kinds)]
    dwell = _mean_dwell(n_states, longest, generators)
    return Starts(labels, dwell, kinds, torch.tensor(is_narrow) & takes_any_number)


def initial_model(structure: Model, sequences: Sequences, starts: Starts, seed: int) -> Model:
    """R models of this structure, their parameters guessed from the starts."""
    device = sequences.values.device
    n_restarts, n_states = starts.mean_dwell.shape
    generator = torch.Generator().manual_seed(seed % 2**63)
    if structure.context is not None:
        encoder = structure.context.initialise(sequences, n_restarts, generator)
        structure = replace(structure, context=encoder)
        sequences = structure.beside(sequences)
    parts: dict[str, Component] = {
        "initial": structure.initial.initialise(n_restarts, n_states),
        "transition": structure.transition.initialise(sequences, starts.mean_dwell, generator),
        "emission": _emission(structure.emission, sequences, starts, n_states),
    }
    if structure.duration is not None:
        parts["duration"] = _durations(structure.duration, starts.mean_dwell)
    else:
        parts["transition"] = _as_they_follow(parts["transition"], sequences, starts)
    begun = {kind: part.to(device).beside(sequences) for kind, part in parts.items()}
    return replace(structure, **begun)  # type: ignore[arg-type]


def _emission(bare: Emission, sequences: Sequences, starts: Starts, n_states: int) -> Emission:
    """Laws of the labels; a narrow one does not hold its neighbours, a wide one may yet move among them."""
    labels = starts.labels.to(sequences.values.device)
    made = bare.initialise(sequences, labels, n_states)
    narrow = starts.narrow.to(labels.device)
    if not bool(narrow.any()):
        return made
    weights = torch.nn.functional.one_hot(labels, n_states).to(torch.float64)
    of_levels = torch.tensor([kind == "levels" for kind in starts.kinds], device=labels.device)
    closer = made.alone if bool(of_levels.any()) else made.maximise
    return closer(sequences, weights).where(narrow, made)


def _as_they_follow(drawn: Component, sequences: Sequences, starts: Starts) -> Component:
    """Transitions that those from levels begin with: as their labels follow each other."""
    of_levels = torch.tensor([kind == "levels" for kind in starts.kinds])
    law = drawn.parameters.get("probability")
    if law is None or not bool(of_levels.any()):
        return drawn
    n_states = law.shape[-1]
    seen = sequences.observed.any(1).cpu()
    own = torch.nn.functional.one_hot(starts.labels, n_states).to(law) * seen[:, None]
    counted = successions(own, sequences) + 1.0 / n_states
    counted = torch.where(law > 0, counted, 0.0)
    counted = counted / counted.sum(-1, keepdim=True)
    return drawn.with_parameters(probability=torch.where(of_levels[:, None, None], counted, law))


def _durations(bare: Duration, mean_dwell: Tensor) -> Duration:
    """Durations of about ``mean_dwell`` steps, counted from the shortest that there may be on."""
    return bare.initialise(mean_dwell + (bare.min_duration - 1))


def longest_dwell(structure: Model, sequences: Sequences, n_states: int) -> int:
    """Dwell times to start from: several visits to each state in the average series, within the duration table."""
    visits = int(sequences.n_rows / sequences.n_series / (2 * n_states))
    table = structure.duration.max_duration if structure.duration is not None else 200
    return max(2, min(visits, table))


def k_means(points: Tensor, n_states: int, generators: _Generators) -> Tensor:
    """(R, N) cluster of each point (N, F), or (R, N, F), by each of R generators: k-means++ seeds, then a few Lloyd
    steps."""
    points = points.expand(len(generators), -1, -1)
    drawn = [_spread_out(own, n_states, one) for own, one in zip(points, generators, strict=True)]
    centres = torch.stack(drawn).permute(2, 1, 0).unsqueeze(-1)  # (F, K, R, 1)
    features = points.movedim(-1, 0).contiguous()
    labels = _nearest(features, centres)
    first = n_states * torch.arange(len(generators)).unsqueeze(1)
    for _ in range(_LLOYD_STEPS):
        cluster, before = (labels + first).flatten(), labels
        size = cluster.bincount(minlength=len(first) * n_states)
        sums = torch.stack([cluster.bincount(x, minlength=len(size)) for x in features.flatten(1)])
        means = (sums / size).view(-1, len(first), n_states).mT.unsqueeze(-1)
        centres = torch.where(means.isnan(), centres, means)  # where a cluster is empty
        labels = _nearest(features, centres)
        if torch.equal(labels, before):
            break
    return labels


def _nearest(features: Tensor, centres: Tensor) -> Tensor:
    """(R, N) which of the centres (F, K, R, 1) lies nearest to each of the points (F, R, N)."""
    labels = torch.zeros(features.shape[1:], dtype=torch.int64)
    least = torch.full_like(features[0], torch.inf)
    for state, places in enumerate(centres.unbind(1)):
        first, *others = (features - places).square_()
        far = sum(others, first)
        labels.masked_fill_(far < least, state)
        least = torch.minimum(far, least)
    return labels


def _clusters(standard: Tensor, sequences: Sequences, n_states: int, generators: _Generators) -> Tensor:  # noqa: ARG001
    return k_means(standard, n_states, generators)


def _shells(standard: Tensor, sequences: Sequences, n_states: int, generators: _Generators) -> Tensor:  # noqa: ARG001
    """Quantile bands of the distance from the centre: states that differ in spread."""
    distance = standard.norm(dim=1)
    even = torch.arange(1, n_states, dtype=distance.dtype) / n_states
    drawn = torch.stack([torch.rand(n_states - 1, generator=generator) for generator in generators])
    cuts = (even + 0.6 / n_states * (drawn - 0.5)).sort().values
    edges = _quantiles(distance, cuts.flatten()).view_as(cuts)
    return torch.searchsorted(edges, distance.expand(len(edges), -1).contiguous())


def _quantiles(distance: Tensor, cuts: Tensor) -> Tensor:
    if len(distance) <= 2**24 and len(cuts):
        return distance.quantile(cuts)
    return distance.sort().values[(cuts * (len(distance) - 1)).long()]


def _segments(standard: Tensor, sequences: Sequences, n_states: int, generators: _Generators) -> Tensor:  # noqa: ARG001
    """Contiguous stretches, each series cut into a few per state: states that only time tells apart."""
    lengths = sequences.lengths.tolist()
    return torch.stack([torch.cat([_cut(length, n_states, one) for length in lengths]) for one in generators])


def _cut(length: int, n_states: int, generator: torch.Generator) -> Tensor:
    per_state = int(torch.randint(1, 6, (), generator=generator))
    pieces = torch.stack([torch.randperm(n_states, generator=generator) for _ in range(per_state)]).flatten()
    return pieces[torch.arange(length) * len(pieces) // length]


def _random_centres(standard: Tensor, sequences: Sequences, n_states: int, generators: _Generators) -> Tensor:  # noqa: ARG001
    """Nearest of a few rows picked at random, in a random scale of the features."""
    labels = []
    for generator in generators:
        weight = torch.rand(standard.shape[1], generator=generator, dtype=standard.dtype) + 0.1
        picked = torch.randint(len(standard), (n_states,), generator=generator)
        points = standard * weight
        labels.append(_nearest(points.mT.unsqueeze(1), points[picked].mT[..., None, None])[0])
    return torch.stack(labels)


def _windows(standard: Tensor, sequences: Sequences, n_states: int, generators: _Generators) -> Tensor:
    """Clusters of the moving level and spread: states that show only over many rows."""
    widths = _WIDTHS[: len(generators)]
    features = [_window_features(standard, sequences, width) for width in widths]
    turns = [turn % len(_WIDTHS) for turn in range(len(generators))]
    return k_means(torch.stack([features[turn] for turn in turns]), n_states, generators)


def _stretches(standard: Tensor, sequences: Sequences, n_states: int, generators: _Generators) -> Tensor:
    drawn = [stretches(standard, sequences, n_states, generator, turn) for turn, generator in enumerate(generators)]
    return torch.stack(drawn)


KINDS: dict[str, Callable[[Tensor, Sequences, int, _Generators], Tensor]] = {
    "clusters": _clusters,
    "shells": _shells,
    "windows": _windows,
    "stretches": _stretches,
    "segments": _segments,
    "random": _random_centres,
}
"""(R, N) labels by each of R generators, in turn."""


def _turns(n_states: int, *, has_levels: bool = False) -> list[str]:
    """Kinds in the order in which restarts begin with them: where rows are of a few tight groups, every other one
    shares these out; where states are many, one in three is of stretches."""
    others = [kind for kind in KINDS if kind != "stretches"]
    if has_levels:
        return [kind for other in others for kind in ("levels", other)]
    if n_states < _MANY:
        return others
    pairs = [(others[i % len(others)], others[(i + 1) % len(others)]) for i in range(0, 2 * len(others), 2)]
    return [kind for pair in pairs for kind in ("stretches", *pair)]


def _window_features(standard: Tensor, sequences: Sequences, width: int) -> Tensor:
    """(N, 2F) centred moving mean and log moving spread of each series, standardised."""
    features = []
    for series in standard.split(sequences.lengths.tolist()):
        level = _moving_mean(series, width)
        spread = (_moving_mean(series**2, width) - level**2).clamp(min=0.0).sqrt()
        features.append(torch.cat([level, torch.log(spread + 0.05)], 1))
    joined = torch.cat(features)
    scale = joined.std(0, unbiased=False)
    return (joined - joined.mean(0)) / torch.where(scale > 0, scale, 1.0)


def _moving_mean(series: Tensor, width: int) -> Tensor:
    total = torch.cat([series.new_zeros(1, series.shape[1]), series.cumsum(0)])
    row = torch.arange(len(series))
    low, high = (row - width // 2).clamp(min=0), (row + (width + 1) // 2).clamp(max=len(series))
    return (total[high] - total[low]) / (high - low)[:, None]


def _spread_out(points: Tensor, n_states: int, generator: torch.Generator) -> Tensor:
    """k-means++ seeding (Arthur & Vassilvitskii 2007) on a sample of rows; of many centres, each the best of a few."""
    if len(points) > _SEEDING_ROWS:
        points = points[torch.randperm(len(points), generator=generator)[:_SEEDING_ROWS]]
    chosen = [points[int(torch.randint(len(points), (), generator=generator))]]
    nearest = (points - chosen[0]).square().sum(1)
    n_drawn = 1 if n_states < _MANY else 2 + int(math.log(n_states))
    for _ in range(n_states - 1):
        height = nearest.cumsum(0)
        drawn = torch.rand(n_drawn, generator=generator, dtype=height.dtype) * height[-1]
        rows = torch.searchsorted(height, drawn, right=True).clamp(max=len(points) - 1)
        left = torch.minimum(nearest, (points - points[rows].unsqueeze(1)).square().sum(-1))
        best = int(left.sum(1).argmin())
        chosen.append(points[rows[best]])
        nearest = left[best]
    return torch.stack(chosen)


def _mean_dwell(n_states: int, longest: int, generators: _Generators) -> Tensor:
    """(R, K) log-uniform around a level that is itself log-uniform between 2 steps and ``longest``."""
    drawn = [(torch.rand((), generator=one), torch.rand(n_states, generator=one)) for one in generators]
    level, jitter = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    top = math.log(max(longest, 4) / 2.0)
    return (2.0 * torch.exp(level * top).unsqueeze(1) * torch.exp(0.5 * (jitter - 0.5))).clamp(min=1.5).double()
