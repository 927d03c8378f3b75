"""Laws of single columns: given the state, the features are independent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

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

    @abstractmethod
    def density(self, feature: int, values: Tensor) -> Tensor:
        """(R, V, K) log-density of values (V,) of a feature."""

    @abstractmethod
    def fitted_to(self, columns: list[Column], held: Collection[str] = ()) -> Self:
        """Parameters that do not lower Σ weight · log-density + log-prior; a law without weight keeps its own.

        Those ``held``, which are never all, stay as they are.
        """

    @abstractmethod
    def pooled(self, sequences: Sequences, n_restarts: int, n_states: int) -> Self:
        """Parameters to start from, equal in all states."""

    @property
    def n_features(self) -> int:
        return next(iter(self.parameters.values())).shape[2]

    def log_potentials(self, sequences: Sequences, out: StateSeries | None = None) -> StateSeries:
        if sequences.n_features != self.n_features:
            raise ValueError(f"X has {sequences.n_features} features; the model was fitted on {self.n_features}.")
        rows, of_row = sequences.distinct.rows, sequences.distinct.of_row
        total = out if of_row is None else None
        for feature in range(self.n_features):
            self._check_values(sequences, rows, feature)
            total = self._spread(rows, feature, total, adds=feature > 0)
        assert total is not None
        return total if of_row is None else spread(total, of_row, out)

    def initialise(self, sequences: Sequences, labels: Tensor, n_states: int) -> Self:
        """Each state's own rows with a share of all others: no value is impossible from the start."""
        self.check_values(sequences)
        return self.pooled(sequences, len(labels), n_states).maximise(sequences, softened(labels, n_states))

    def points(self, sequences: Sequences) -> Tensor:
        self.check_values(sequences)
        return super().points(sequences)

    def check_values(self, sequences: Sequences) -> None:
        """Raise ``ValueError`` unless all observed values are of the law's type."""
        for feature in range(sequences.n_features):
            self._check_values(sequences, sequences, feature)

    def maximise(self, sequences: Sequences, counts: StateSeries, held: Collection[str] = ()) -> Self:
        distinct = sequences.distinct
        summed = gathered(counts, distinct.of_row, distinct.rows.n_rows)
        columns = [self._column(distinct.rows, summed, feature) for feature in range(sequences.n_features)]
        return self.fitted_to(columns, held)

    def order(self) -> Tensor:
        """By the first feature's mean."""
        moments = self.moments()
        assert moments is not None, "a family without moments states an order of its own"
        return moments[0][0, :, 0].argsort(stable=True)

    def _spread(self, rows: Sequences, feature: int, out: Tensor | None, *, adds: bool) -> Tensor:
        """(R, U, K) log-density of one feature in these rows, 0 where it is missing."""
        levels = rows.columns((feature,)).distinct
        values, observed = levels.rows.values[:, 0], levels.rows.observed[:, 0]
        if levels.rows.is_complete:
            return spread(self.density(feature, values), levels.of_row, out, adds=adds)
        density = self.density(feature, torch.where(observed, values, self.support.inside))
        return spread(torch.where(observed[:, None], density, 0.0), levels.of_row, out, adds=adds)

    def _column(self, rows: Sequences, weights: Tensor, feature: int) -> Column:
        levels = rows.columns((feature,)).distinct
        weight = gathered(weights, levels.of_row, levels.rows.n_rows).mT
        values = levels.rows.values[:, 0]
        if levels.rows.is_complete:
            return Column(values, weight)
        return Column(values[levels.rows.whole_rows], weight[..., levels.rows.whole_rows])

    def _check_values(self, sequences: Sequences, rows: Sequences, feature: int) -> None:
        """Raise ``ValueError`` unless all observed ``rows``, the distinct ones of ``sequences``, are of the type."""
        known: set[tuple[int, str]] = rows.__dict__.setdefault("_of_type", set())
        if (feature, self.support.words) in known:
            return
        values, observed = rows.values[:, feature], rows.observed[:, feature]
        if bool((self.support.contains(values) | ~observed).all()):
            known.add((feature, self.support.words))
            return
        wrong = ~self.support.contains(sequences.values[:, feature]) & sequences.observed[:, feature]
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"X holds {float(sequences.values[row, feature]):g} at row {row}, column {feature}; a {self.name} emission "
            f"expects {self.support.words}. Recode the column, mark the cell missing with NaN, or choose another "
            "emission."
        )


def softened(labels: Tensor, n_states: int) -> Tensor:
    """(R, N, K) weights from labels (R, N): mostly the state's own rows, with a share of all others."""
    hard = torch.nn.functional.one_hot(labels, n_states).to(torch.float64)
    return (1.0 - _SOFTNESS) * hard + _SOFTNESS / n_states
