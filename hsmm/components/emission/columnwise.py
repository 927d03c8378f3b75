"""Laws of single columns: given the state, the features are independent."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from hsmm.components.emission.base import Emission
from hsmm.components.emission.repeats import gathered, spread
from hsmm.sequences import Sequences
from hsmm.types import StateSeries

_SOFTNESS = 0.2


@dataclass(frozen=True, eq=False)
class Column:
    """The distinct observed ``values`` (V,) of one feature and their ``weight`` (R, K, V)."""

    values: Tensor
    weight: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Columnwise(Emission):
    """Parameters (R, K, F, …), one law a feature; missing cells are skipped.

    Columns of counts or symbols hold few distinct values: densities are computed once for each of these, and weights
    are summed over the rows that share it.
    """

    support: ClassVar[str]
    inside: ClassVar[float] = 0.0  # a value of the support, to stand in for missing ones

    @abstractmethod
    def supports(self, values: Tensor) -> Tensor:
        """Whether values may be asked about at all; the probability of one that is may still be zero."""

    @abstractmethod
    def density(self, feature: int, values: Tensor) -> Tensor:
        """(R, V, K) log-density of values (V,) of a feature."""

    @abstractmethod
    def fitted_to(self, columns: list[Column]) -> Self:
        """Parameters that do not lower Σ weight · log-density + log-prior; a law without weight keeps its own."""

    @abstractmethod
    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        """Parameters to start from, equal in all states."""

    @abstractmethod
    def means(self) -> Tensor:
        """(R, K, F) expected value of each feature."""

    @property
    def n_features(self) -> int:
        return self.means().shape[-1]

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        distinct = sequences.distinct
        parts = [self._of_column(sequences, distinct.rows, feature) for feature in range(self.n_features)]
        return spread(sum(parts[1:], parts[0]), distinct.of_row, out)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        """Each state's own rows with a share of all others: no value is impossible from the start."""
        for feature in range(sequences.n_features):
            self._check_values(sequences, sequences, feature)
        weights = torch.nn.functional.one_hot(labels, n_states).to(sequences.values.dtype)
        softened = (1.0 - _SOFTNESS) * weights + _SOFTNESS / n_states
        return self.pooled(sequences, len(labels), n_states).maximise(sequences, softened)

    def maximise(self, sequences: Sequences, weights: StateSeries) -> Self:
        distinct = sequences.distinct
        summed = gathered(weights, distinct.of_row, distinct.rows.n_rows)
        return self.fitted_to([self._column(distinct.rows, summed, feature) for feature in range(sequences.n_features)])

    def order(self) -> Tensor:
        """By the first feature's mean."""
        return self.means()[0, :, 0].argsort(stable=True)

    def _of_column(self, sequences: Sequences, rows: Sequences, feature: int) -> Tensor:
        """(R, U, K) log-density of one feature in distinct rows, 0 where it is missing."""
        self._check_values(sequences, rows, feature)
        levels = rows.columns((feature,)).distinct
        values, observed = levels.rows.values[:, 0], levels.rows.observed[:, 0]
        if levels.rows.is_complete:
            return spread(self.density(feature, values), levels.of_row)
        density = self.density(feature, torch.where(observed, values, self.inside))
        return spread(torch.where(observed[:, None], density, 0.0), levels.of_row)

    def _column(self, rows: Sequences, weights: Tensor, feature: int) -> Column:
        levels = rows.columns((feature,)).distinct
        observed = levels.rows.observed[:, 0]
        weight = gathered(weights, levels.of_row, levels.rows.n_rows).mT
        values = levels.rows.values[:, 0]
        if levels.rows.is_complete:
            return Column(values, weight)
        return Column(values[observed], weight[..., observed])

    def _check_values(self, sequences: Sequences, rows: Sequences, feature: int) -> None:
        """Raise ``ValueError`` unless all observed ``rows``, the distinct ones of ``sequences``, are of the type."""
        values, observed = rows.values[:, feature], rows.observed[:, feature]
        if bool((self.supports(values) | ~observed).all()):
            return
        wrong = ~self.supports(sequences.values[:, feature]) & sequences.observed[:, feature]
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"X holds {float(sequences.values[row, feature]):g} at row {row}, column {feature}; a {self.name} emission "
            f"expects {self.support}. Recode the column, mark the cell missing with NaN, or choose another emission."
        )


def is_count(values: Tensor) -> Tensor:
    """Whether values are whole numbers >= 0."""
    return (values >= 0) & (values == values.floor())
