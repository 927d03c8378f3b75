"""Where restarts begin: rough assignments of rows to states, and rough dwell times.

No single recipe finds every optimum: clusters miss states that differ in spread, quantiles of distance miss states that
differ in place, and both miss states that only time tells apart. The kinds take turns over the restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

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
_MANY = 8  # states, of which k-means++ alone would leave some without a centre


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
    smooth = {}
    labels, dwell = [], []
    kinds: list[str] = []
    takes_any_number = emission is None or emission.takes_any_number(sequences.n_features)
    least_dof = None if emission is None else emission.least_dof
    levels = Levels(standard, sequences, n_states, least_dof) if takes_any_number else None
    turns = _turns(n_states, has_levels=levels is not None and levels.is_usable)
    for restart in range(n_restarts):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + restart) % 2**63)
        kind = turns[restart % len(turns)]
        turn = kinds.count(kind)
        if kind == "windows":
            width = (5, 20, 60)[turn % 3]
            if width not in smooth:
                smooth[width] = _window_features(standard, sequences, width)
            labels.append(k_means(smooth[width], n_states, generator))
        elif kind == "levels":
            assert levels is not None
            labels.append(levels.labels(turn))
        elif kind == "stretches":
            labels.append(stretches(standard, sequences, n_states, generator, turn))
        else:
            labels.append(KINDS[kind](standard, sequences, n_states, generator))
        dwell.append(_mean_dwell(n_states, longest, generator))
        kinds.append(kind)
    is_narrow = [kind == "levels" or (kind != "random" and turn % 2 == 0) for turn, kind in enumerate(kinds)]
    return Starts(torch.stack(labels), torch.stack(dwell), kinds, torch.tensor(is_narrow) & takes_any_number)


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


def k_means(points: Tensor, n_states: int, generator: torch.Generator) -> Tensor:
    """Cluster of each point (N,): k-means++ seeds, then a few Lloyd steps."""
    centres = _spread_out(points, n_states, generator)
    for _ in range(_LLOYD_STEPS):
        labels = torch.cdist(points, centres).argmin(1)
        members = torch.nn.functional.one_hot(labels, n_states).to(points.dtype)
        size = members.sum(0)[:, None]
        centres = torch.where(size > 0, members.mT @ points / size.clamp(min=1.0), centres)
    return torch.cdist(points, centres).argmin(1)


def _clusters(standard: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    return k_means(standard, n_states, generator)


def _shells(standard: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """Quantile bands of the distance from the centre: states that differ in spread."""
    distance = standard.norm(dim=1)
    even = torch.arange(1, n_states, dtype=distance.dtype) / n_states
    cuts = (even + 0.6 / n_states * (torch.rand(n_states - 1, generator=generator) - 0.5)).sort().values
    return torch.bucketize(distance, distance.quantile(cuts)) if len(distance) <= 2**24 else _ranked(distance, cuts)


def _ranked(distance: Tensor, cuts: Tensor) -> Tensor:
    ordered = distance.sort().values
    return torch.bucketize(distance, ordered[(cuts * (len(ordered) - 1)).long()])


def _segments(standard: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """Contiguous stretches, each series cut into a few per state: states that only time tells apart."""
    labels = []
    for length in sequences.lengths.tolist():
        per_state = int(torch.randint(1, 6, (), generator=generator))
        pieces = torch.stack([torch.randperm(n_states, generator=generator) for _ in range(per_state)]).flatten()
        position = torch.arange(length) * len(pieces) // length
        labels.append(pieces[position])
    return torch.cat(labels)


def _random_centres(standard: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    """Nearest of a few rows picked at random, in a random scale of the features."""
    weight = torch.rand(standard.shape[1], generator=generator, dtype=standard.dtype) + 0.1
    picked = torch.randint(len(standard), (n_states,), generator=generator)
    return torch.cdist(standard * weight, standard[picked] * weight).argmin(1)


def _windows(standard: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator) -> Tensor:
    """Clusters of the moving level and spread: states that show only over many rows."""
    return k_means(_window_features(standard, sequences, 20), n_states, generator)


def _stretches(standard: Tensor, sequences: Sequences, n_states: int, generator: torch.Generator) -> Tensor:
    return stretches(standard, sequences, n_states, generator, 0)


KINDS: dict[str, Callable[[Tensor, Sequences, int, torch.Generator], Tensor]] = {
    "clusters": _clusters,
    "shells": _shells,
    "windows": _windows,
    "stretches": _stretches,
    "segments": _segments,
    "random": _random_centres,
}


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


def _mean_dwell(n_states: int, longest: int, generator: torch.Generator) -> Tensor:
    """(K,) log-uniform around a level that is itself log-uniform between 2 steps and ``longest``."""
    level, jitter = torch.rand((), generator=generator), torch.rand(n_states, generator=generator)
    top = math.log(max(longest, 4) / 2.0)
    return (2.0 * torch.exp(level * top) * torch.exp(0.5 * (jitter - 0.5))).clamp(min=1.5).double()
