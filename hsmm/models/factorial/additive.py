"""Chains that run side by side, and what they add up to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from hsmm.components.duration import Duration, DurationCounts
from hsmm.components.initial import Initial
from hsmm.components.transition import Transition
from hsmm.inference import Posterior
from hsmm.potentials import Potentials
from hsmm.sequences import Sequences


@dataclass(frozen=True, eq=False)
class Chain:
    """R models of one chain of K states, an HMM's where there is no ``duration``; state k adds ``level`` (R, K, F)."""

    initial: Initial
    transition: Transition
    duration: Duration | None
    level: Tensor

    @property
    def n_states(self) -> int:
        return self.level.shape[1]

    def potentials(self, log_emission: Tensor, offsets: Tensor) -> Potentials:
        """The tables, with those of the emissions (R, N, K) given."""
        tables = None if self.duration is None else self.duration.log_potentials()
        return Potentials(
            log_initial=self.initial.log_potentials(),
            log_transition=self.transition.log_potentials(),
            log_duration=None if tables is None else tables.log_duration,
            log_emission=log_emission,
            offsets=offsets,
            log_tail=None if tables is None else tables.log_tail,
        )

    def maximise(self, sequences: Sequences, counts: Posterior) -> Self:
        """The chain, its levels apart, that these expected counts make likeliest."""
        duration = self.duration
        if duration is not None:
            segments = DurationCounts(counts.duration, counts.residual, counts.tail_stay, counts.tail_leave)
            duration = duration.maximise(sequences, segments)
        return replace(
            self,
            initial=self.initial.maximise(sequences, counts.initial),
            transition=self.transition.maximise(sequences, counts.transition),
            duration=duration,
        )

    def take(self, restarts: Tensor) -> Chain:
        return Chain(
            self.initial.take(restarts),
            self.transition.take(restarts),
            None if self.duration is None else self.duration.take(restarts),
            self.level[restarts],
        )

    def permuted(self, order: Tensor) -> Chain:
        """State ``order[k]`` becomes state k."""
        return Chain(
            self.initial.permuted(order),
            self.transition.permuted(order),
            None if self.duration is None else self.duration.permuted(order),
            self.level[:, order],
        )

    def n_parameters(self) -> int:
        """Free parameters; the level of one state is counted with the base."""
        durations = 0 if self.duration is None else self.duration.n_parameters()
        levels = (self.n_states - 1) * self.level.shape[2]
        return self.initial.n_parameters() + self.transition.n_parameters() + durations + levels


@dataclass(frozen=True, eq=False)
class Additive:
    """R models of y_n = base + Σ over chains of the level of their state at n + normal noise.

    ``base`` (R, F) is what is always there, ``variance`` (R, F) that of the noise, the features' noise independent.
    """

    chains: tuple[Chain, ...]
    base: Tensor
    variance: Tensor

    @property
    def n_states(self) -> tuple[int, ...]:
        """Of each chain."""
        return tuple(chain.n_states for chain in self.chains)

    @property
    def is_markov(self) -> bool:
        return all(chain.duration is None for chain in self.chains)

    def take(self, restarts: Tensor) -> Self:
        chains = tuple(chain.take(restarts) for chain in self.chains)
        return replace(self, chains=chains, base=self.base[restarts], variance=self.variance[restarts])

    def log_evidence(self, level: Tensor, sequences: Sequences, rest: Tensor) -> Tensor:
        """(R, N, K) log p(y_n | ``level`` (R, K, F) is added to the ``rest`` (R, N, F)), less that without."""
        weight = sequences.observed / self.variance.unsqueeze(1)
        gap = weight * (sequences.values - rest)
        return gap @ level.mT - 0.5 * weight @ level.square().mT

    def log_density(self, sequences: Sequences, total: Tensor) -> Tensor:
        """(R, N) log p(y_n | the sum (R, N, F) of base and levels)."""
        variance = self.variance.unsqueeze(1)
        cells = (sequences.values - total).square() / variance + (2.0 * math.pi * variance).log()
        return -0.5 * (cells * sequences.observed).sum(-1)

    def along(self, paths: Tensor) -> list[Tensor]:
        """(R, N, F) what each chain adds on paths (R, N, C)."""
        return [
            chain.level.gather(1, paths[..., c, None].expand(-1, -1, chain.level.shape[-1]))
            for c, chain in enumerate(self.chains)
        ]

    def n_parameters(self) -> int:
        """Free parameters of one model."""
        return sum(chain.n_parameters() for chain in self.chains) + self.base[0].numel() + self.variance[0].numel()


@dataclass(frozen=True, eq=False)
class Expected:
    """What is expected of hidden paths given the data.

    - ``counts`` of each chain; their ``state`` (R, N, K_c) are the chain's posterior
    - ``bound`` (R,): a lower bound of the log-likelihood; exact where the paths' law is
    - ``gram`` (R, F, P, P), ``cross`` (R, F, P): Σ over observed cells of φφᵀ and φy, where φ is 1 followed by the
      indicators of every chain's states
    """

    counts: tuple[Posterior, ...]
    bound: Tensor
    gram: Tensor
    cross: Tensor

    def where(self, restarts: Tensor, other: Expected) -> Expected:
        """These expectations where ``restarts`` (R,) is True, the other's elsewhere."""

        def chosen(one: Tensor, two: Tensor) -> Tensor:
            return torch.where(restarts.view(-1, *[1] * (one.ndim - 1)), one, two)

        counts = tuple(
            Posterior(**{name: chosen(value, getattr(theirs, name)) for name, value in vars(own).items()})
            for own, theirs in zip(self.counts, other.counts, strict=True)
        )
        tables = {name: chosen(getattr(self, name), getattr(other, name)) for name in ("bound", "gram", "cross")}
        return Expected(counts, **tables)
