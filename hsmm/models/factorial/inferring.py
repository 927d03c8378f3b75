"""Which inference answers: the exact one over the product of all chains, or mean field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hsmm.models.factorial import beam, conditional, exact, mean_field
from hsmm.models.factorial.additive import Additive, Expected
from hsmm.sequences import Sequences

Inference = Literal["auto", "exact", "mean_field"]
_SMALL = 64  # states of the product, up to which "auto" is exact
_SWEEPS, _FEW_SWEEPS, _STILL = 30, 3, 1e-7
_SEARCHED = 4  # models at once whose paths are searched for along time


@dataclass(frozen=True)
class Inferring:
    """The choice, and the seed of what it draws."""

    choice: Inference
    seed: int

    def is_exact(self, model: Additive) -> bool:
        small = model.is_markov and math.prod(model.n_states) <= _SMALL
        return self.choice == "exact" or (self.choice == "auto" and small)

    def expected(self, model: Additive, sequences: Sequences, before: Expected | None = None) -> Expected:
        """Counts of each chain; mean field goes on from ``before``, what was expected of a model much like it."""
        if self.is_exact(model):
            exact.check(model, "use inference='mean_field'")
            return exact.expected(model, sequences)
        if before is not None:
            return mean_field.expected(model, sequences, _states(before), sweeps=_FEW_SWEEPS, tol=_STILL)
        return self.approximated(model, sequences)

    def approximated(self, model: Additive, sequences: Sequences) -> Expected:
        """Mean field from nothing, or from likely paths if that ends higher."""
        first = mean_field.expected(model, sequences, sweeps=_SWEEPS, tol=_STILL)
        paths = beam.likely(model, sequences) if len(model.base) <= _SEARCHED else _likely(first)
        paths = conditional.climb(model, sequences, paths, self._generator())
        certain = [torch.nn.functional.one_hot(paths[..., c], k).double() for c, k in enumerate(model.n_states)]
        other = mean_field.expected(model, sequences, certain, sweeps=_SWEEPS, tol=_STILL)
        return first.where(first.bound >= other.bound, other)

    def paths(self, model: Additive, sequences: Sequences) -> Tensor:
        """(N, C) the likeliest states together, or where inference is not exact, paths that a search finds."""
        if self.is_exact(model):
            return exact.viterbi(model, sequences)
        return conditional.climb(model, sequences, beam.likely(model, sequences), self._generator())[0]

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _states(expected: Expected) -> list[Tensor]:
    return [counts.state for counts in expected.counts]


def _likely(expected: Expected) -> Tensor:
    """(R, N, C) the likeliest state of each row and chain."""
    return torch.stack([state.argmax(-1) for state in _states(expected)], -1)
