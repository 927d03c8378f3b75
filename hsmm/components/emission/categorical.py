"""Symbols."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import Constraint, as_parameter, check_distribution, dirichlet_mode, safe_log
from hsmm.components.emission.columnwise import Column, Columnwise
from hsmm.components.emission.support import SYMBOLS, Support
from hsmm.sequences import Sequences

_MOST_CATEGORIES = 1 << 16
_MOST_AXES = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Categorical(Columnwise):
    """Parameter ``probability`` (R, K, F, M) of the symbols 0, …, M - 1 in each feature.

    ``n_categories`` is M, by default one more than the largest symbol in the data of the fit; a later symbol beyond
    has probability zero. ``concentration`` >= 1, a number or an array (M,) or (F, M), is that of a Dirichlet prior
    on each row (1: none).
    """

    name: ClassVar[str] = "categorical"
    state_axes: ClassVar = {"probability": (1,)}
    support: ClassVar[Support] = SYMBOLS

    n_categories: int | None = None
    concentration: float | Sequence[Any] = 1.0

    def __post_init__(self) -> None:
        if self.n_categories is not None and not (
            isinstance(self.n_categories, (int, np.integer)) and 1 <= self.n_categories <= _MOST_CATEGORIES
        ):
            raise ValueError(f"n_categories is {self.n_categories!r}; expected 1 to {_MOST_CATEGORIES}, or None.")
        if self.n_categories is not None:
            object.__setattr__(self, "n_categories", int(self.n_categories))
        prior = np.asarray(self.concentration, dtype=np.float64)
        if prior.ndim > 2 or not (prior >= 1.0).all() or not np.isfinite(prior).all():
            raise ValueError(
                f"concentration is {self.concentration}; expected a number >= 1 (1 is no prior), or such an array (M,) "
                "or (F, M)."
            )
        object.__setattr__(self, "concentration", _plain(prior))

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        """``probability`` (K, M) for one feature, or (K, F, M)."""
        value = as_parameter(probability, "probability", (2, 3))
        value = value.unsqueeze(-2) if value.ndim == 3 else value
        made = cls(parameters={"probability": value}, **{"n_categories": value.shape[-1], **hyperparameters})
        made.check()
        return made

    def check(self) -> None:
        value = self.parameters["probability"]
        if value.ndim != 4 or 0 in value.shape or self.n_categories not in (None, value.shape[-1]):
            wanted = "M" if self.n_categories is None else self.n_categories
            raise ValueError(f"probability has shape {tuple(value.shape[1:])}; expected (K, F, {wanted}).")
        check_distribution(value.numpy(), "probability")

    @property
    def probability_(self) -> np.ndarray:
        """(K, F, M)"""
        return self.fitted("probability")

    def density(self, feature: int, values: Tensor) -> Tensor:
        probability = self.parameters["probability"][:, :, feature]
        table = torch.nn.functional.pad(safe_log(probability), (0, 1), value=-torch.inf).mT
        return table.index_select(1, values.clamp(max=probability.shape[-1]).long())

    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        old = self.parameters["probability"]
        counts = torch.zeros_like(old)
        for feature, column in enumerate(columns):
            symbols = column.values.long()
            counts[:, :, feature] = counts[:, :, feature].index_add(-1, symbols, column.weight)
        return self.with_parameters(probability=dirichlet_mode(counts, self._prior(old), old))

    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        largest = sequences.values.amax().item()
        n_categories = int(largest) + 1 if self.n_categories is None else self.n_categories
        if largest >= n_categories:
            raise ValueError(f"X holds the symbol {largest:g}; expected 0 to n_categories - 1 = {n_categories - 1}.")
        if n_categories > _MOST_CATEGORIES:
            raise ValueError(
                f"X holds the symbol {largest:g}; at most {_MOST_CATEGORIES} categories fit: number them from 0."
            )
        shape = (n_restarts, n_states, sequences.n_features, n_categories)
        flat = sequences.values.new_full(shape, 1.0 / n_categories)
        self._prior(flat)
        return self.with_parameters(probability=flat)

    def points(self, sequences: Sequences) -> Tensor:
        """An axis for each symbol: the numbers of symbols have no order."""
        self.check_values(sequences)
        symbols = sequences.values.clamp(max=_MOST_AXES - 1).long()
        one_hot = torch.nn.functional.one_hot(symbols, int(symbols.max()) + 1).to(sequences.values.dtype)
        return (one_hot * sequences.observed.unsqueeze(-1)).flatten(1)

    def order(self) -> Tensor:
        """By the mean of the first feature's symbols, as if they were numbers."""
        value = self.parameters["probability"][0, :, 0]
        return (value @ torch.arange(value.shape[-1], dtype=value.dtype, device=value.device)).argsort(stable=True)

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def log_prior(self) -> Tensor:
        value = self.parameters["probability"]
        return torch.xlogy(self._prior(value) - 1.0, value).sum((-1, -2, -3))

    def n_parameters(self) -> int:
        """Symbols counted are all of ``n_categories``, or those of each feature that the data held."""
        _, k, f, m = self.parameters["probability"].shape
        if self.n_categories is not None:
            return k * f * (m - 1)
        seen = (self.parameters["probability"] > 0).any(0).any(0)
        return k * int((seen.sum(-1) - 1).clamp(min=0).sum())

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        law = self.parameters["probability"][0][states].flatten(0, 1)
        drawn = torch.multinomial(law, 1, generator=generator)
        return drawn.view(len(states), -1).to(law.dtype)

    def _prior(self, probability: Tensor) -> float | Tensor:
        """The concentration, to broadcast against ``probability``."""
        if isinstance(self.concentration, float):
            return self.concentration
        prior = torch.tensor(self.concentration, dtype=probability.dtype, device=probability.device)
        if prior.shape[-1] != probability.shape[-1] or prior.shape[:-1] not in ((), probability.shape[-2:-1]):
            raise ValueError(
                f"concentration has shape {tuple(prior.shape)} for {probability.shape[-2]} features of "
                f"{probability.shape[-1]} categories; expected a number, (M,) or (F, M)."
            )
        return prior


def _plain(array: np.ndarray) -> Any:
    """An array as nested tuples, a scalar as a number."""
    return tuple(map(_plain, array)) if array.ndim else float(array)
