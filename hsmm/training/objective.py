"""What training maximises, and the steps that every trainer shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences
from hsmm.training.freezing import with_frozen
from hsmm.training.m_step import maximise

Watch: TypeAlias = Callable[[Tensor], None]


@dataclass(frozen=True, eq=False)
class Objective:
    """Σ weight · log p(series, what is known of its states) + log-prior, as a function of the parameters not frozen.

    - ``states`` (N,) int64: the state of each row, -1 where it is unknown; None knows none
    - ``weight`` (S,) float64 > 0: how often each series counts; None counts each once
    - ``frozen``: tables ("emission") and parts of tables ("emission.mean") that keep their values
    - ``watch``: is told the objective of each restart that still climbs (r,), once an iteration
    - ``drop``: what an encoder's dropout is drawn from; None leaves nothing out
    - ``temperature``: emissions count by 1 / temperature, as annealing begins; 1 is the likelihood
    """

    sequences: Sequences
    states: Tensor | None = None
    weight: Tensor | None = None
    frozen: frozenset[str] = frozenset()
    watch: Watch | None = None
    drop: torch.Generator | None = None
    temperature: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether it is the likelihood of the data, and a prior."""
        return self.states is None and self.weight is None

    @cached_property
    def n_observations(self) -> float:
        """Rows with an observed cell, as often as their series count: what a tolerance per observation refers to."""
        if self.weight is None:
            return self.sequences.n_observed_rows
        return float((self.weight.repeat_interleave(self.sequences.lengths) * self.sequences.observed.any(1)).sum())

    def potentials(self, model: Model, log_emission: Tensor | None = None) -> Potentials:
        """The model's tables; a known state rules out all others."""
        p = model.potentials(self.sequences, log_emission, drop=self.drop)
        if self.temperature != 1.0:
            p = replace(p, log_emission=p.log_emission / self.temperature)
        if self.states is None:
            return p
        if log_emission is None:
            return replace(p, log_emission=p.log_emission.masked_fill(self._ruled_out(p.n_states), -torch.inf))
        p.log_emission.masked_fill_(self._ruled_out(p.n_states), -torch.inf)
        return p

    def expected_counts(self, p: Potentials, *, trial: bool = False, awaited: bool = True) -> Posterior:
        """Counts of all series, as often as these count; ``log_likelihood`` (R, S) is that of each once.

        Tables of a ``trial`` that cannot be computed with have likelihood 0; elsewhere they raise ``ValueError``, once
        counts are ``awaited``.
        """
        weight = None if self.weight is None else self.weight.expand(p.n_restarts, -1).contiguous()
        return inference.expected_counts(p, weight, checked=True, trial=trial, awaited=awaited)

    def log_likelihood(self, p: Potentials, *, trial: bool = False) -> Tensor:
        """(R, S) that of :meth:`expected_counts` alone, for less."""
        return inference.log_partition(p, checked=True, trial=trial)

    def total(self, log_likelihood: Tensor) -> Tensor:
        """(R,) of each restart, from that of its series."""
        return self.sequences.summed(log_likelihood if self.weight is None else log_likelihood * self.weight)

    def of_models(self, kept: Tensor) -> Objective:  # noqa: ARG002 - where each sees its own, this is less
        """What the models at these rising indices, or where a mask (R,) is True, are judged by."""
        return self

    def counts_of(self, counts: Posterior, kept: Tensor) -> Posterior:
        """Those of these models."""
        return Posterior(**{name: value[kept] for name, value in vars(counts).items()})

    def with_counts(self, counts: Posterior, models: Tensor, other: Posterior) -> Posterior:
        """``counts`` with those of the models at these rising indices put in their place."""
        pairs = vars(counts).items()
        return Posterior(**{name: value.index_copy(0, models, getattr(other, name)) for name, value in pairs})

    def maximise(self, model: Model, counts: Posterior) -> Model:
        """The M-step of what is not frozen."""
        return maximise(model, self.sequences, counts, self.frozen)

    def with_frozen(self, model: Model, before: Model) -> Model:
        """``model`` with what is frozen as it was before."""
        return with_frozen(model, before, self.frozen)

    def tell(self, reached: Tensor) -> None:
        """One more iteration has brought the restarts that climb to these objectives."""
        if self.watch is not None:
            self.watch(reached)

    def to(self, device: torch.device) -> Objective:
        return replace(
            self,
            sequences=self.sequences.to(device),
            states=None if self.states is None else self.states.to(device),
            weight=None if self.weight is None else self.weight.to(device),
        )

    def head(self, lengths: Tensor) -> Objective:
        """The same of the first ``lengths`` (S,) rows of each series."""
        of_series = torch.repeat_interleave(
            torch.arange(self.sequences.n_series, device=lengths.device), self.sequences.lengths
        )
        place = torch.arange(self.sequences.n_rows, device=lengths.device) - self.sequences.offsets[of_series]
        states = None if self.states is None else self.states[place < lengths[of_series]]
        return replace(self, sequences=self.sequences.head(lengths), states=states)

    def present(self) -> Objective:
        """The same without the series of weight 0."""
        if self.weight is None or bool((self.weight > 0).all()):
            return self
        return self.chosen((self.weight > 0).nonzero().flatten().tolist())

    def in_canonical_order(self) -> Objective:
        """The same with its series in an order that depends on their content alone."""
        order = self.sequences.canonical_order()
        return self if order == list(range(len(order))) else self.chosen(order)

    def chosen(self, order: list[int]) -> Objective:
        """The same of these series alone, in this order."""
        rows = torch.cat([torch.arange(*self.sequences.offsets[s : s + 2].tolist()) for s in order])
        return replace(
            self,
            sequences=self.sequences.series(order),
            states=None if self.states is None else self.states[rows],
            weight=None if self.weight is None else self.weight[order],
        )

    def _ruled_out(self, n_states: int) -> Tensor:
        assert self.states is not None
        known = self.states.unsqueeze(-1)
        return (known >= 0) & (known != torch.arange(n_states, device=known.device))


def objective_of(data: Sequences | Objective) -> Objective:
    """The likelihood of these series, or the objective itself."""
    return data if isinstance(data, Objective) else Objective(data)
