"""Values to which chains that run side by side add up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.base import Constraint
from hsmm.components.emission.base import Emission
from hsmm.components.emission.elliptical import Gaussian
from hsmm.components.emission.support import NUMBERS, Support
from hsmm.components.emission.tails import Tails
from hsmm.components.factorial.members import MEMBER, as_chains, check_members, check_number, indicators, members
from hsmm.components.factorial.regression import regressed, residual
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

_FIRST_SPREAD = 0.1  # of the variance: chains are not certain before their levels are
_LEAST_MASS = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Additive(Emission):
    """y = base + Σ over chains of the level of the chain's state + normal noise, whose features are independent.

    The ``chains`` are given by their numbers of states. Parameters are ``base`` (R, F); the levels ``level_0``
    (R, k - 1, F), … of each chain's states but its first, which adds nothing; ``variance`` (R, F) of the noise, at
    least ``min_covariance`` of each feature's; and ``member`` (R, K, C), which state of each chain every state holds.

    Source: Ghahramani & Jordan (1997), *Factorial hidden Markov models*, Machine Learning 29.
    """

    name: ClassVar[str] = "additive"
    support: ClassVar[Support] = NUMBERS
    is_location_scale: ClassVar[bool] = True
    states_are_apart: ClassVar[bool] = False

    chains: Sequence[int]
    min_covariance: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "chains", as_chains(self.chains))
        if not 0.0 < self.min_covariance < 1.0:
            raise ValueError(f"min_covariance is {self.min_covariance}; expected a fraction between 0 and 1.")

    @property
    def state_axes(self) -> Mapping[str, tuple[int, ...]]:  # type: ignore[override]
        return {MEMBER: (1,), **dict.fromkeys(("base", *self._levels, "variance"), ())}

    @property
    def n_features(self) -> int:
        return self.parameters["base"].shape[-1]

    def law(self) -> Gaussian:
        """The same densities, state by state."""
        values = self._coefficients()
        mean = (values.unsqueeze(1) @ self._features().unsqueeze(-1)).squeeze(-1)
        spread = self.parameters["variance"].unsqueeze(1).expand_as(mean)
        return Gaussian(covariance="diag").with_parameters(mean=mean, covariance=spread)

    def chain_states(self) -> Tensor:
        """(K, C) int64 the state of each chain that every state of the first model holds.

        Chains are in the order of what they add at most to the first feature, the largest first; so are a chain's
        states, the least first.
        """
        member = self.parameters[MEMBER][0].long()
        added = [torch.cat([level.new_zeros(1), level[0, :, 0]]) for level in self._own_levels()]
        order = sorted(range(len(added)), key=lambda c: -float(added[c].max() - added[c].min()))
        ranks = [added[c].argsort(stable=True).argsort() for c in order]
        return torch.stack([rank[member[:, c]] for rank, c in zip(ranks, order, strict=True)], 1)

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        return self.law().log_potentials(sequences, out)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        check_number(self.chains, n_states)
        mean, variance = sequences.moments
        r, f = len(labels), sequences.n_features
        levels = {name: mean.new_zeros(r, k - 1, f) for name, k in zip(self._levels, self.chains, strict=True)}
        unfitted = self.with_parameters(
            member=members(self.chains, r).to(labels.device),
            base=mean.expand(r, f).clone(),
            variance=self._floored(variance.expand(r, f), sequences),
            **levels,
        )
        made = unfitted.maximise(sequences, torch.nn.functional.one_hot(labels, n_states).double())
        wide = made.parameters["variance"].maximum(_FIRST_SPREAD * sequences.scale.square())
        return made.with_parameters(variance=wide)

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        """The levels that a regression on the chains' states finds, and the spread that it leaves."""
        features, centre = self._features(), sequences.moments[0]
        seen = torch.where(sequences.observed, sequences.values - centre, 0.0)
        weight = sequences.observed.to(counts).T @ counts
        gram = features.mT.unsqueeze(1) @ (weight.unsqueeze(-1) * features.unsqueeze(1))
        cross = (seen.T @ counts) @ features
        old = self._coefficients()
        values = regressed(gram, cross, torch.cat([old[..., :1] - centre.unsqueeze(-1), old[..., 1:]], -1))
        mass = weight.sum(-1)
        square = (seen.square().T @ counts.sum(-1, keepdim=True)).squeeze(-1)
        variance = self._floored(residual(square, gram, cross, values) / mass.clamp(min=_LEAST_MASS), sequences)
        base, *levels = values.mT.split([1, *(k - 1 for k in self.chains)], 1)
        return self.with_parameters(
            base=base.squeeze(1) + centre,
            variance=torch.where(mass > _LEAST_MASS, variance, self.parameters["variance"]),
            **dict(zip(self._levels, levels, strict=True)),
        )

    def confined(self, sequences: Sequences) -> Self:
        return self.with_parameters(variance=self._floored(self.parameters["variance"], sequences))

    def is_proper(self) -> Tensor:
        return (self.parameters["variance"].detach() > 0).all(1)

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.law().moments()

    def tails(self, sequences: Sequences) -> Tails:
        return self.law().tails(sequences)

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        return self.law().sample(states, generator)

    def order(self) -> Tensor:
        """By :meth:`chain_states`, the last chain's changing fastest."""
        key, found = torch.zeros(1, dtype=torch.int64), self.chain_states()
        for column in found.unbind(1):
            key = key * max(self.chains) + column
        return key.argsort(stable=True)

    def particulars(self) -> dict[str, Any]:
        return {"chains": " x ".join(map(str, self.chains))}

    def constraints(self) -> Mapping[str, Constraint]:
        return {**dict.fromkeys(("base", *self._levels), "real"), "variance": "positive"}

    def sizes(self) -> dict[str, Tensor]:
        unit = self.parameters["variance"].sqrt()
        return {"base": unit, **dict.fromkeys(self._levels, unit.unsqueeze(1))}

    def n_parameters(self) -> int:
        return self.n_features * (2 + sum(self.chains) - len(self.chains))

    def check(self) -> None:
        check_members(self.parameters[MEMBER], self.chains)
        f = (self.n_features,)
        wanted = {"base": f, "variance": f, **{n: (k - 1, *f) for n, k in zip(self._levels, self.chains, strict=True)}}
        for name, shape in wanted.items():
            if (found := tuple(self.parameters[name].shape[1:])) != shape:
                raise ValueError(f"the additive emission has a {name} of shape {found}; expected {shape}.")
        if not bool((self.parameters["variance"] > 0).all()):
            raise ValueError("the additive emission has a variance that is not above 0.")

    @property
    def _levels(self) -> list[str]:
        return [f"level_{c}" for c in range(len(self.chains))]

    def _own_levels(self) -> list[Tensor]:
        return [self.parameters[name] for name in self._levels]

    def _coefficients(self) -> Tensor:
        """(R, F, P) base and levels."""
        return torch.cat([self.parameters["base"].unsqueeze(1), *self._own_levels()], 1).mT

    def _features(self) -> Tensor:
        """(R, K, P) 1, and which of each chain's states but its first every state holds."""
        hot = indicators(self.parameters[MEMBER], self.chains)
        ones = torch.ones_like(hot[0][..., :1])
        return torch.cat(list(chain([ones], (own[..., 1:] for own in hot))), -1)

    def _floored(self, variance: Tensor, sequences: Sequences) -> Tensor:
        return variance.maximum(self.min_covariance * sequences.floor_scale.square())
