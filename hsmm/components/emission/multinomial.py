"""How a given number of draws falls into categories."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hsmm.components.base import (
    Constraint,
    as_parameter,
    check_concentration,
    check_distribution,
    dirichlet_mode,
)
from hsmm.components.emission.base import Emission, standardised
from hsmm.components.emission.columnwise import softened
from hsmm.components.emission.repeats import gathered, linear, spread
from hsmm.components.emission.support import COUNTS, Support, is_count
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

_IMPOSSIBLE = -1e300


@dataclass(frozen=True, kw_only=True, eq=False)
class Multinomial(Emission):
    """Parameter ``probability`` (R, K, F): the features of a row are counts of F categories, and their total is given.

    A row that misses any cell is missing as a whole, for its total is unknown. ``concentration`` >= 1 is that of a
    Dirichlet prior on each state's probabilities (1: none); ``total`` that of the rows which ``sample`` draws.
    """

    name: ClassVar[str] = "multinomial"
    state_axes: ClassVar = {"probability": (1,)}
    support: ClassVar[Support] = COUNTS

    concentration: float = 1.0
    total: int = 1

    def __post_init__(self) -> None:
        check_concentration(self.concentration)
        if not isinstance(self.total, (int, np.integer)) or self.total < 1:
            raise ValueError(f"total is {self.total!r}; expected a whole number >= 1.")
        object.__setattr__(self, "total", int(self.total))

    @classmethod
    def from_parameters(cls, probability: Any, **hyperparameters: Any) -> Self:
        """``probability`` (K, F)."""
        made = cls(parameters={"probability": as_parameter(probability, "probability", (2,))}, **hyperparameters)
        made.check()
        return made

    def check(self) -> None:
        value = self.parameters["probability"]
        if value.ndim != 3 or 0 in value.shape:
            raise ValueError(f"probability has shape {tuple(value.shape[1:])}; expected (K, F).")
        check_distribution(value.numpy(), "probability")

    @property
    def n_features(self) -> int:
        return self.parameters["probability"].shape[-1]

    @property
    def probability_(self) -> np.ndarray:
        """(K, F)"""
        return self.fitted("probability")

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        distinct = sequences.distinct
        rows = distinct.rows
        _check_counts(sequences, rows)
        probability = self.parameters["probability"]
        possible = probability > 0
        slopes = torch.where(possible, probability.where(possible, 1.0).log(), _IMPOSSIBLE)
        whole = rows.observed.all(1)
        counts = torch.where(whole[:, None], rows.values, 0.0)
        total, ways = torch.zeros_like(counts[:, 0]), torch.zeros_like(counts[:, 0])
        for count in counts.unbind(1):
            total, ways = total + count, ways - torch.lgamma(count + 1.0)
        ways = ways + torch.lgamma(total + 1.0)
        ones = torch.ones_like(slopes[..., 0])
        table = linear(torch.zeros_like(ones), [ones, *slopes.unbind(-1)], [ways, *counts.unbind(1)])
        table = torch.where(table < 0.1 * _IMPOSSIBLE, -torch.inf, table)
        return spread(table, distinct.of_row, out)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        if sequences.n_features < 2:
            raise ValueError("X has 1 feature; a multinomial emission needs at least 2, the counts of its categories.")
        _check_counts(sequences, sequences)
        n_features = sequences.n_features
        flat = sequences.values.new_full((len(labels), n_states, n_features), 1.0 / n_features)
        return self.with_parameters(probability=flat).maximise(sequences, softened(labels, n_states))

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        distinct = sequences.distinct
        rows = distinct.rows
        values = torch.where(rows.observed.all(1, keepdim=True), rows.values, 0.0)
        summed = gathered(counts, distinct.of_row, rows.n_rows).mT @ values
        old = self.parameters["probability"]
        return self.with_parameters(probability=dirichlet_mode(summed, self.concentration, old))

    def points(self, sequences: Sequences) -> Tensor:
        """Each category's share of the row, standardised."""
        _check_counts(sequences, sequences)
        whole = sequences.observed.all(1, keepdim=True)
        total = sequences.values.sum(1, keepdim=True)
        share = torch.where(whole & (total > 0), sequences.values / total.clamp(min=1.0), torch.nan)
        known = ~share.isnan()
        return standardised(Sequences(torch.where(known, share, 0.0), known, sequences.offsets))

    def constraints(self) -> Mapping[str, Constraint]:
        return {"probability": "simplex"}

    def log_prior(self) -> Tensor:
        return torch.xlogy(self.concentration - 1.0, self.parameters["probability"]).sum((-1, -2))

    def n_parameters(self) -> int:
        _, k, f = self.parameters["probability"].shape
        return k * (f - 1)

    def order(self) -> Tensor:
        """By the share of the first category."""
        return self.parameters["probability"][0, :, 0].argsort(stable=True)

    def sample(self, states: Tensor, generator: torch.Generator, covariates: Tensor | None = None) -> Tensor:
        law = self.parameters["probability"][0][states]
        drawn = torch.multinomial(law, self.total, replacement=True, generator=generator)
        return torch.zeros_like(law).scatter_add_(1, drawn, torch.ones_like(drawn, dtype=law.dtype))


def _check_counts(sequences: Sequences, rows: Sequences) -> None:
    """Raise ``ValueError`` unless all observed ``rows``, the distinct ones of ``sequences``, are counts."""
    if bool((is_count(rows.values) | ~rows.observed).all()):
        return
    row, column = (~is_count(sequences.values) & sequences.observed).nonzero()[0].tolist()
    raise ValueError(
        f"X holds {float(sequences.values[row, column]):g} at row {row}, column {column}; a multinomial emission "
        "expects whole numbers >= 0, the counts of its categories."
    )
