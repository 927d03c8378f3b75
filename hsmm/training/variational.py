"""Learning by paths that are drawn from a guide and relaxed (Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from hsmm.components.network import StateNetwork
from hsmm.components.transition import Neural
from hsmm.sequences import Sequences
from hsmm.training.gradient import Slope
from hsmm.training.guide import Guided, reading
from hsmm.training.objective import Objective
from hsmm.training.walk import Walk

Relaxation: TypeAlias = Literal["soft", "straight_through", "hard"]
RELAXATIONS = ("soft", "straight_through", "hard")

_GUIDE_FIRST = 0.1  # of the steps, in which models stay: a guide that knows nothing would lead them away


@dataclass(frozen=True)
class Paths:
    """How paths are drawn: mixed states ("soft"), one state with a mixed state's slope ("straight_through"), or one
    state without a slope ("hard"). The softmax's temperature falls from ``gumbel`` to ``least_gumbel`` and the weight
    of the divergence rises from ``first_weight`` to 1, both until the middle of the walk."""

    relaxation: Relaxation
    gumbel: float
    least_gumbel: float
    first_weight: float

    def heat(self, share: float) -> float:
        return self.gumbel * (self.least_gumbel / self.gumbel) ** min(1.0, 2.0 * share)

    def weight(self, share: float) -> float:
        return self.first_weight + (1.0 - self.first_weight) * min(1.0, 2.0 * share)


@dataclass(eq=False)
class GuidedWalk(Walk):
    """Models and guides on their way up the bound, as drawn paths estimate it."""

    paths: Paths = Paths("straight_through", 1.0, 0.3, 0.1)

    def _slope(self, batch: Objective, vectors: Tensor, generator: torch.Generator) -> Slope:
        share = self.step / self.stride.n_steps
        with torch.enable_grad():
            point = vectors.detach().requires_grad_()
            model = self._coordinates.model(point)
            assert isinstance(model, Guided)
            bound = drawn_bound(model, batch, self.paths, share, generator)
            value = batch.total(bound) + model.log_prior()
            (gradient,) = torch.autograd.grad(value[value.isfinite()].sum(), point)
        gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
        if share < _GUIDE_FIRST:
            gradient = gradient * self._of_guide
        return Slope(vectors, value.detach().nan_to_num(-torch.inf), gradient)

    @cached_property
    def _of_guide(self) -> Tensor:
        """(P,) 1 for the numbers of the guide."""
        mask = torch.zeros_like(self._state["vectors"][0])
        for name, block in self._coordinates.blocks.items():
            mask[block] = float(name.startswith("guide_"))
        return mask

    def _told(self) -> tuple[object, ...]:
        return (*super()._told(), self.paths)


def drawn_bound(model: Guided, objective: Objective, paths: Paths, share: float, generator: torch.Generator) -> Tensor:
    """(R, S) Σ_t E_q log p(y_t | state) - weight · KL(q_t || p_t) along one drawn path a series.

    Expectations and divergences of a row are exact given the state before it. Where paths are of single states and the
    weight is 1, its mean is the lower bound.
    """
    moves, guide = model.transition, model.guide_transition
    assert isinstance(moves, Neural)
    rows, read = model.beside(objective.sequences, objective.drop), reading(model.guide(), objective.sequences)
    place, there = _padded(rows)
    heat, weight = paths.heat(share), paths.weight(share)
    emitted = model.emission.log_potentials(rows)[:, place] / objective.temperature  # (R, S, T, K)
    ours, theirs = _by_series(_gated(moves, rows), place), _by_series(_gated(guide, read), place)
    noise = torch.rand(emitted.shape, generator=generator, dtype=torch.float64).to(emitted)
    noise = -(-noise.clamp(min=1e-300).log()).clamp(min=1e-300).log()

    first = model.initial
    log_p = first.log_potentials(rows) if first.uses_covariates else model.log_initial().unsqueeze(1)
    state, log_p = torch.zeros_like(emitted[:, :, 0]), log_p.expand_as(emitted[:, :, 0])
    log_q = model.guide_initial.log_potentials(read)
    total = torch.zeros_like(emitted[:, :, 0, 0])
    for t in range(place.shape[1]):
        if t:
            log_p = moves.normalised_of(state, None if ours is None else ours[:, :, t])
            log_q = guide.normalised_of(state, None if theirs is None else theirs[:, :, t])
        log_q = log_q.masked_fill(log_p.isneginf(), -torch.inf).log_softmax(-1)
        share_of = log_q.exp()
        apart = torch.where(share_of > 0, share_of * (log_q - log_p).masked_fill(share_of == 0, 0.0), 0.0).sum(-1)
        told = torch.where(share_of > 0, share_of * emitted[:, :, t], 0.0).sum(-1)
        total = total + torch.where(there[:, t], told - weight * apart, 0.0)
        state = _drawn(log_q, noise[:, :, t], heat, paths.relaxation)
    return total


def _drawn(log_q: Tensor, noise: Tensor, heat: float, relaxation: Relaxation) -> Tensor:
    """(R, S, K) a state of each series."""
    soft = ((log_q + noise) / heat).softmax(-1)
    if relaxation == "soft":
        return soft
    hard = torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
    return hard if relaxation == "hard" else hard + soft - soft.detach()


def _gated(network: StateNetwork, rows: Sequences) -> Tensor | None:
    return network.gated(network.standard(rows))


def _padded(rows: Sequences) -> tuple[Tensor, Tensor]:
    """(S, T) the row of each place of each series, and whether it has one."""
    lengths = rows.lengths
    step = torch.arange(int(lengths.max()), device=lengths.device)
    there = step < lengths.unsqueeze(1)
    return (rows.offsets[:-1].unsqueeze(1) + step).where(there, 0), there


def _by_series(of_row: Tensor | None, place: Tensor) -> Tensor | None:
    return None if of_row is None else of_row[:, place]
