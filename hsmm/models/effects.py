"""What the context does to a fitted model: curves with intervals, and what each of its columns is worth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.special import expit, logit, ndtri
from torch import Tensor

from hsmm.components.covariates import OnCovariates
from hsmm.components.duration import DurationTables
from hsmm.components.model import Model
from hsmm.models.parameters import RandomState, seed_from, whole
from hsmm.models.queries import Queries
from hsmm.sequences import Sequences, column_names
from hsmm.training.information import curvature, std_errors
from hsmm.training.objective import Objective

_INNER = (0.05, 0.95)  # quantiles between which a column is moved
_SCHEMA = {
    "column": pl.String,
    "value": pl.Float64,
    "table": pl.String,
    "state": pl.Int64,
    "to": pl.Int64,
    "feature": pl.String,
    **dict.fromkeys(("estimate", "std_error", "low", "high"), pl.Float64),
}


class Effects(Queries):
    """Questions to models whose tables follow a context."""

    def context_effects(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        groups: Any = None,
        n_points: int = 9,
        level: float = 0.95,
    ) -> pl.DataFrame:
        """How every table that reads the context changes with one column of it, the others at their means.

        One row a number: column (its name, or "context_0", …), value, table, state, to (of a transition), feature (of
        an emission), estimate, std_error, low, high. The estimate is an expected duration in steps, the probability of
        a move or first state, or the mean of a feature. A column goes through its own values, or, where there are more
        than ``n_points``, through as many between its 5 % and 95 % quantiles. Intervals hold with probability
        ``level``; they come from the curvature at the estimate, on the scale of logarithms for durations and of logits
        for probabilities, for which X must be the data of the fit.

        Raises ``ValueError`` where no table reads the context, or an encoder stands between: what it makes of a row
        depends on those before.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level!r}; expected a probability between 0 and 1.")
        n_points = whole("n_points", n_points, 2)
        sequences = self._sequences(X, lengths, context, groups)
        model = self._fitted_model().in_units_of(sequences)
        covariates = self._covariates(model, sequences)
        if model.context is not None:
            raise ValueError(
                f"the encoder {model.context.name!r} makes of a row what depends on those before, so no curve shows "
                "it; context_importance says what each column is worth."
            )
        grid = _Grid.of(model, covariates, n_points)

        def on_grid(moved: Model) -> np.ndarray:
            return np.stack([values for _, values in grid.numbers(moved)])

        estimate = on_grid(model)
        frozen = self.frozen_names()
        errors = std_errors(on_grid, model, curvature(model, Objective(sequences, frozen=frozen)), frozen)
        z = float(ndtri(0.5 + level / 2.0))
        names, rows = _column_names(context, covariates.shape[1]), []
        for (key, _), values, error in zip(grid.numbers(model), estimate, errors, strict=True):
            error = np.where(np.isfinite(values), error, 0.0)  # what cannot happen cannot with any parameters
            value, low, high = (key.shown(values + side * error) for side in (0.0, -z, z))
            slope = key.slope(value)
            for point, (column, place) in enumerate(zip(grid.column, grid.value, strict=True)):
                if column not in grid.read_by[key.table]:
                    continue
                feature = None if key.feature is None else self.feature_labels[key.feature]
                numbers = value[point], error[point] * slope[point], low[point], high[point]
                rows.append((names[column], place, key.table, key.state, key.to, feature, *map(float, numbers)))
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row").sort("column", "table", maintain_order=True)

    def context_importance(
        self,
        X: Any,
        lengths: Any = None,
        *,
        context: Any = None,
        groups: Any = None,
        n_repeats: int = 10,
        random_state: RandomState = 0,
    ) -> pl.DataFrame:
        """What each column of the context is worth: by how much the log-likelihood falls where it tells nothing.

        One row a column: column, loss (nats per row), sd (between the ``n_repeats``). A column is moved along all rows
        by a random number of them, which leaves it its own pattern in time. Fresh data tell what it is worth for them;
        on the data of the fit a column without any effect is worth a little, too.

        Raises ``ValueError`` where no table reads the context.
        """
        n_repeats = whole("n_repeats", n_repeats, 1)
        sequences = self._sequences(X, lengths, context, groups)
        covariates = self._covariates(self._fitted_model(), sequences)
        generator = np.random.default_rng(seed_from(random_state))
        whole_score, n_rows = self.score_sequences(sequences), sequences.n_rows
        if n_rows < 2:
            raise ValueError(f"X has {n_rows} row; a column can be moved along 2 and more.")
        made: dict[str, list[Any]] = {"column": [], "loss": [], "sd": []}
        for column, name in enumerate(_column_names(context, covariates.shape[1])):
            losses = []
            for shift in generator.integers(1, n_rows, n_repeats):
                moved = covariates.clone()
                moved[:, column] = covariates[:, column].roll(int(shift))
                losses.append((whole_score - self.score_sequences(sequences.with_covariates(moved))) / n_rows)
            made["column"].append(name)
            made["loss"].append(float(np.mean(losses)))
            made["sd"].append(float(np.std(losses)))
        return pl.DataFrame(made)

    @abstractmethod
    def frozen_names(self) -> frozenset[str]:
        """What the fit left as it was."""

    def _covariates(self, model: Model, sequences: Sequences) -> Tensor:
        if not any(part.uses_covariates for part in model.components().values()) or sequences.covariates is None:
            raise ValueError("no table of this model reads the context; make one contextual to ask what it does.")
        return sequences.covariates


@dataclass(frozen=True)
class _Key:
    """Which number of which table."""

    table: str
    state: int
    to: int | None = None
    feature: int | None = None

    def shown(self, values: np.ndarray) -> np.ndarray:
        """From the scale on which intervals are symmetric."""
        if self.table == "emission":
            return values
        return np.exp(values) if self.table == "duration" else expit(values)

    def slope(self, shown: np.ndarray) -> np.ndarray:
        """How fast what is shown moves with a number on that scale."""
        if self.table == "emission":
            return np.ones_like(shown)
        return shown if self.table == "duration" else shown * (1.0 - shown)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Points at which one ``column`` has a ``value``: each a series of two rows with the same context, ``rows``."""

    column: list[int]
    value: list[float]
    rows: Sequences
    read_by: dict[str, frozenset[int]]

    @classmethod
    def of(cls, model: Model, covariates: Tensor, n_points: int) -> _Grid:
        every = frozenset(range(covariates.shape[1]))
        read_by = {
            kind: frozenset(part.columns or every) if isinstance(part, OnCovariates) else every
            for kind, part in model.components().items()
            if part.uses_covariates
        }
        column, value, points = [], [], []
        for c in sorted(frozenset().union(*read_by.values())):
            for place in _places(covariates[:, c].numpy(), n_points):
                point = covariates.mean(0)
                point[c] = place
                column.append(c)
                value.append(float(place))
                points += [point, point]
        blank = torch.zeros(len(points), model.emission.n_features, dtype=covariates.dtype)
        offsets = torch.arange(0, len(points) + 1, 2)
        return cls(column, value, Sequences(blank, blank.bool(), offsets, torch.stack(points)), read_by)

    def numbers(self, model: Model) -> Iterator[tuple[_Key, np.ndarray]]:
        """(G,) each number of the first model's tables that read the context, on the scale of :meth:`_Key.shown`."""
        rows, first = self.rows, self.rows.offsets[:-1]
        if model.initial.uses_covariates:
            yield from _of_states("initial", logit(model.initial.log_potentials(rows)[0].exp().numpy()))
        if model.transition.uses_covariates:
            moves = logit(model.transition.log_potentials(rows)[0, first].exp().numpy())
            n_states = moves.shape[1]
            for i in range(n_states):
                for j in range(n_states):
                    if model.duration is None or i != j:
                        yield _Key("transition", i, j), moves[:, i, j]
        if model.duration is not None and model.duration.uses_covariates:
            tables = model.duration.log_potentials(rows)
            tail = None if tables.log_tail is None else tables.log_tail.unsqueeze(1)
            yield from _of_states(
                "duration", DurationTables(tables.log_duration[:, first], tail).mean()[0].log().numpy()
            )
        for feature, mean in model.emission.means_at(rows).items():
            yield from _of_states("emission", mean[0, first].numpy(), feature)


def _of_states(table: str, values: np.ndarray, feature: int | None = None) -> Iterator[tuple[_Key, np.ndarray]]:
    for state, own in enumerate(values.T):
        yield _Key(table, state, feature=feature), own


def _places(values: np.ndarray, n_points: int) -> np.ndarray:
    distinct = np.unique(values)
    if len(distinct) <= n_points:
        return distinct
    return np.unique(np.quantile(values, np.linspace(*_INNER, n_points)))


def _column_names(context: Any, n_columns: int) -> list[str]:
    return list(column_names(context) or [f"context_{c}" for c in range(n_columns)])
