"""Tables of each unit's own under a law of the group that is learnt from all, the emissions being common.

The derivation is in ``docs/maths/partial-pooling.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.base import Component
from hsmm.components.duration import DurationCounts
from hsmm.components.duration.base import expected_log_likelihood
from hsmm.components.duration.parametric import Parametric
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.encoder_step import counts_of
from hsmm.training.freezing import frozen_parts
from hsmm.training.objective import Objective

KINDS = ("initial", "transition", "duration")
_ROUND = 20  # steps of EM about one centre
_FIRST, _FACTOR, _LEAST, _MOST = 30.0, 10.0**0.5, 0.1, 1e5  # strengths that are tried
_TRIAL, _CLOSE = 60, 1e-3  # steps of EM for each of them, and nats a step that are enough
_SWEEPS = 2  # over the tables whose strengths are learnt
_SAME = 0.01  # nats between strengths at which rows are equally likely
_MOST_COORDINATES = 128  # of a table, to look for what is missing of their counts
_NUDGE = 1e-4
_POSSIBLE = 1e-10

Tables = dict[str, Any]


@dataclass(frozen=True, eq=False)
class PartiallyPooled:
    """A group's model and U units' own tables.

    - ``group``: one model, whose tables are the centre of the units' prior: the law of a unit that nobody has seen
    - ``own``: by kind, the component of all units (U models)
    - ``concentration``: by kind, as how many moves or segments of each state the group's law counts in each unit
    - ``log_likelihood`` (U,): of each unit's series under its own tables
    - ``share`` (U, K): of each unit's rows, each state's
    - ``history``: the objective of every E-step of the last climb, a list for each centre; within one it does not fall
    """

    group: Model
    own: Mapping[str, Component]
    concentration: dict[str, float]
    log_likelihood: Tensor
    share: Tensor
    history: list[list[float]]
    n_iter: int
    converged: bool


def partially_pooled(
    group: Model,
    objective: Objective,
    owners: Tensor,
    kinds: tuple[str, ...],
    concentration: Mapping[str, float],
    *,
    max_iter: int,
    tol: float,
) -> PartiallyPooled:
    """Climb from a model of all series, of which each belongs to the unit ``owners`` (S,) says, 0 to U - 1.

    ``kinds`` are the tables that become each unit's own. The strengths of priors that ``concentration`` does not name
    are those at which the rows are likeliest, by Laplace's approximation. A climb at one strength stops where a round
    gains less than ``tol`` per observed row, or after ``max_iter`` M-steps.
    """
    climb = _Climb(group, objective, owners, kinds, concentration)
    wanted = [kind for kind in kinds if kind not in concentration]
    trial = min(max_iter, _TRIAL)
    if wanted:
        climb.rise(trial, _CLOSE)
    for _ in range(_SWEEPS):
        moved = [climb.tune(kind, trial) for kind in wanted]
        if len(wanted) < 2 or not any(moved):
            break
    return climb.result(*climb.rise(max_iter, tol * float(objective.n_observations)))


def unit_potentials(
    group: Model, own: Mapping[str, Component], sequences: Sequences, owners: Tensor, states: Tensor | None = None
) -> Potentials:
    """The tables of U units side by side, each series seen by those of its unit alone.

    Known ``states`` (N,) rule out all others; -1 is unknown.
    """
    everyone = torch.zeros(next(iter(own.values())).n_restarts, dtype=torch.int64, device=sequences.device)
    shared = {kind: part.take(everyone) for kind, part in group.components().items() if kind in KINDS}
    parts: dict[str, Any] = {**shared, **own}
    tables = parts["duration"].log_potentials() if "duration" in parts else None
    common = Objective(sequences, states).potentials(group)
    return Potentials(
        log_initial=parts["initial"].log_potentials(),
        log_transition=parts["transition"].log_potentials(),
        log_duration=None if tables is None else tables.log_duration,
        log_emission=common.log_emission,
        offsets=sequences.offsets,
        log_tail=None if tables is None else tables.log_tail,
        left_censored=group.left_censored,
        right_censored=group.right_censored,
        owners=owners,
    )


class _Climb:
    """The group's model, the units' ``own`` tables, the ``counts`` at these, and the ``strength`` of each prior."""

    def __init__(
        self,
        group: Model,
        objective: Objective,
        owners: Tensor,
        kinds: tuple[str, ...],
        concentration: Mapping[str, float],
    ) -> None:
        self.group, self.target, self.owners, self.kinds = group, objective, owners, kinds
        self.strength = {kind: concentration.get(kind, _FIRST) for kind in kinds}
        self.n_units = int(owners.max()) + 1
        everyone = torch.zeros(self.n_units, dtype=torch.int64, device=owners.device)
        self.own: Tables = {kind: group.components()[kind].take(everyone) for kind in kinds}
        self.counts = self._expected()

    def rise(self, max_iter: int, least: float) -> tuple[list[list[float]], bool]:
        """EM at the present strengths, the centre moved between rounds, until neither gains as much as ``least`` nats:
        the objectives of each round, and whether it came to that."""
        history, n_iter, before = list[list[float]](), 0, -math.inf
        while n_iter < max_iter:
            self._move_centre()
            reached = [self.objective()]
            while n_iter < max_iter and len(reached) <= _ROUND:
                self.step()
                n_iter += 1
                reached.append(self.objective())
                if reached[-1] - reached[-2] < least:
                    break
            history.append(reached)
            if abs(reached[-1] - before) < least:
                return history, True
            before = reached[-1]
        return history, False

    def tune(self, kind: str, max_iter: int) -> bool:
        """Go to the strength of this prior at which the rows are likeliest, of equal ones the largest; if it moved.

        Steps by a constant factor, and in the end to where a parabola through the best and its neighbours is highest.
        """
        middle, found, at = self.strength[kind], dict[int, float](), dict[int, tuple[Any, ...]]()

        def evidence(place: int) -> float:
            if place not in found:
                self.strength[kind] = min(max(middle * _FACTOR**place, _LEAST), _MOST)
                self.rise(max_iter, _CLOSE)
                found[place], at[place] = self.evidence(kind), (self.strength[kind], self.group, self.own, self.counts)
            return found[place]

        best = 0
        while middle * _FACTOR**best < _MOST and evidence(best + 1) >= evidence(best) - _SAME:
            best += 1
        while best <= 0 and middle * _FACTOR**best > _LEAST and evidence(best - 1) > evidence(best) + _SAME:
            best -= 1
        self.strength[kind], self.group, self.own, self.counts = at[best]
        if best - 1 in found and best + 1 in found and _LEAST < self.strength[kind] < _MOST:
            self.strength[kind] *= _FACTOR ** _vertex(found[best - 1], found[best], found[best + 1])
        return best != 0

    def evidence(self, kind: str) -> float:
        """log p(series) with the units' tables integrated out, up to a constant, that of ``kind`` by what its counts
        lack: ``docs/maths/partial-pooling.md``."""
        total = self.counts.log_likelihood.sum()
        for each in self.kinds:
            counted, centre = self._counted(each), self.group.components()[each]
            complete = _of_shapes if isinstance(centre, Parametric) else _of_rows
            strength = torch.tensor(self.strength[each], dtype=torch.float64, device=self.owners.device)
            total = total + complete(centre, self.own[each], counted, strength)
            total = total - _log_weight(self.own[each], counted).sum()
        return float(total - 0.5 * self._log_seen(kind))

    def _log_seen(self, kind: str) -> Tensor:
        """Σ over units log det(1 - J), J the Jacobian of an EM step: the share of the information that rows hold."""
        own = self.own[kind]
        here = {name: value.flatten(1) for name, value in own.free().items()}
        flat = torch.cat(list(here.values()), 1)
        if flat.shape[1] > _MOST_COORDINATES:
            return flat.new_zeros(())
        still = self._coordinates(kind, own, self.counts)
        able = flat.exp().gt(_POSSIBLE) & flat.isfinite() & still.isfinite()
        columns = []
        for place in range(flat.shape[1]):
            moved = flat.clone()
            moved[:, place] += _NUDGE
            parts = zip(here, moved.split([value.shape[1] for value in here.values()], 1), strict=True)
            there = own.with_free({name: part.view(own.parameters[name].shape) for name, part in parts})
            after = self._coordinates(kind, there, self._expected({**self.own, kind: there}))
            columns.append(torch.where(able & able[:, place, None], (after - still) / _NUDGE, 0.0).nan_to_num(0.0))
        kept = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device) - torch.stack(columns, -1)
        return torch.linalg.slogdet(kept)[1].sum()

    def _coordinates(self, kind: str, own: Any, counts: Posterior) -> Tensor:
        """Where an M-step of these counts leads a table, in coordinates without constraints."""
        counted = counts_of(kind, self.group, self.target.sequences, counts)
        after = own.maximise(self.target.sequences, _each(torch.add, counted, self._prior(kind)))
        return torch.cat([value.flatten(1) for value in after.free().values()], 1)

    def _move_centre(self) -> None:
        parts = self.group.components()
        centres = {kind: _centre(parts[kind], self._counted(kind), self.strength[kind]) for kind in self.kinds}
        self.group = replace(self.group, **centres)

    def step(self) -> None:
        """The M-step at this prior, and the counts where it leads."""
        rows, frozen, own, changed = self.target.sequences, self.target.frozen, dict(self.own), Tables()
        for kind, part in self.group.components().items():
            counted, held = self._counted(kind), frozen_parts(frozen, kind)
            if kind in self.kinds:
                counted = _each(torch.add, counted, self._prior(kind))
                own[kind] = own[kind].maximise(rows, counted, held)
            elif kind not in frozen:
                counted = counted if kind == "emission" else _each(lambda x: x.sum(0, keepdim=True), counted)
                changed[kind] = part.maximise(rows, counted, held)
        self.group, self.own = replace(self.group, **changed), own
        self.counts = self._expected()

    def objective(self) -> float:
        """log p(series) and the log-priors of all tables, at the centre and the strengths of this round."""
        total = self.counts.log_likelihood.sum()
        for kind, part in self.group.components().items():
            if kind in self.kinds:
                total = total + self.own[kind].log_prior().sum() + _log_weight(self.own[kind], self._prior(kind)).sum()
            else:
                total = total + part.log_prior().sum()
        return float(total)

    def result(self, history: list[list[float]], converged: bool) -> PartiallyPooled:
        reached = self._by_unit(self.owners, self.counts.log_likelihood[0])
        of_row = self.owners.repeat_interleave(self.target.sequences.lengths)
        visits = self._by_unit(of_row, self.counts.state[0])
        share = visits / visits.sum(-1, keepdim=True)
        n_iter = sum(len(climb) - 1 for climb in history)
        return PartiallyPooled(self.group, self.own, self.strength, reached, share, history, n_iter, converged)

    def _by_unit(self, owners: Tensor, values: Tensor) -> Tensor:
        return values.new_zeros(self.n_units, *values.shape[1:]).index_add(0, owners, values)

    def _expected(self, own: Mapping[str, Component] | None = None) -> Posterior:
        p = unit_potentials(self.group, own or self.own, self.target.sequences, self.owners, self.target.states)
        return inference.expected_counts(p)

    def _counted(self, kind: str) -> Any:
        return counts_of(kind, self.group, self.target.sequences, self.counts)

    def _prior(self, kind: str) -> Any:
        return _law(self.group.components()[kind], self.strength[kind])


def _each(change: Callable[..., Tensor], *counts: Any) -> Any:
    """The same done to tables of counts, or to each of those of durations."""
    if not isinstance(counts[0], DurationCounts):
        return change(*counts)
    names = ("duration", "residual", "tail_stay", "tail_leave")
    return type(counts[0])(*(change(*(getattr(one, name) for one in counts)) for name in names))


def _law(centre: Any, strength: Any) -> Any:
    """What so many moves or segments of each state amount to where they follow the centre's law."""
    if centre.kind != "duration":
        return strength * centre.log_potentials().exp()
    tables = centre.log_potentials()
    segments = strength * tables.log_duration.exp()
    none = torch.zeros_like(segments)
    if tables.log_tail is None:
        return DurationCounts(segments, none, none[..., 0], none[..., 0])
    beyond = segments[..., -1]
    return DurationCounts(segments, none, beyond * tables.log_tail.exp() / -torch.expm1(tables.log_tail), beyond)


def _number(counts: Any) -> Tensor:
    """(U,) beginnings, or (U, K) moves or segments of each state."""
    return (counts.duration + counts.residual if isinstance(counts, DurationCounts) else counts).sum(-1)


def _centre(law: Any, counts: Any, strength: Any) -> Any:
    """The group's law, in which a unit weighs by how closely it knows its own: s·n / (s + n) of its n counts."""
    weight = strength / (strength + _number(counts))

    def total(x: Tensor) -> Tensor:
        return (x * weight.view(*weight.shape, *[1] * (x.ndim - weight.ndim))).sum(0, keepdim=True)

    return law.maximise(None, _each(total, counts))


def _log_weight(own: Any, counts: Any) -> Tensor:
    """Σ counts · log-table of each unit and state."""
    if isinstance(counts, DurationCounts):
        return expected_log_likelihood(own.log_potentials(), counts, own.min_duration)
    table = own.log_potentials()
    return torch.where(counts > 0, counts * table, 0.0).sum(-1)


def _vertex(left: float, here: float, right: float) -> float:
    """Where a parabola through three heights, one apart, is highest: from the middle, at most half the way."""
    bend = left - 2.0 * here + right
    return max(-0.5, min(0.5, 0.5 * (left - right) / bend)) if bend < 0.0 else 0.0


def _of_rows(centre: Any, own: Any, counts: Any, strength: Tensor) -> Tensor:  # noqa: ARG001 - as of shapes
    """log p(counts), up to a constant, of rows drawn from a Dirichlet law about the centre."""
    seen, law = counts, _law(centre, strength)
    if isinstance(counts, DurationCounts):
        seen, law = counts.duration, law.duration
    possible = law > 0
    law = torch.where(possible, law, 1.0)
    cells = torch.where(possible, torch.lgamma(seen + law) - torch.lgamma(law), 0.0).sum(-1)
    return (cells + torch.lgamma(strength) - torch.lgamma(strength + seen.sum(-1))).sum()


def _of_shapes(centre: Any, own: Any, counts: Any, strength: Tensor) -> Tensor:
    """log p(counts), up to a constant, of laws whose shapes are drawn about the centre's: Laplace's approximation at
    ``own``, where the curvature of the prior is to that of the posterior as s to s + n.
    """
    prior = _law(centre, strength)
    gained = _log_weight(own, counts) + _log_weight(own, prior) - _log_weight(centre, prior)
    n_shape = own.parameters["shape"].shape[-1]
    return (gained + 0.5 * n_shape * (strength / (strength + _number(counts))).log()).sum()
