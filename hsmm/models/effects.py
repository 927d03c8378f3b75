"""What the context does to a fitted model: curves with intervals, and what each of its columns is worth."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri
from torch import Tensor

from hsmm.components.model import Model
from hsmm.models.effect_grid import Grid
from hsmm.models.parameters import RandomState, seed_from, whole
from hsmm.models.queries import Queries
from hsmm.sequences import Sequences, column_names
from hsmm.training.information import curvature, std_errors
from hsmm.training.objective import Objective

_SCHEMA = {
    "column": pl.String,
    "value": pl.Float64,
    "table": pl.String,
    "quantity": pl.String,
    "state": pl.Int64,
    "to": pl.Int64,
    "feature": pl.String,
    "symbol": pl.Int64,
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
        level: float | None = 0.95,
    ) -> pl.DataFrame:
        """How every table that reads the context changes with one column of it, the others at their means.

        One row a number: column (its name, or "context_0", …), value, table, quantity, state, to (of a transition),
        feature (of an emission), symbol (of a probability of that value), estimate, std_error, low, high. The estimate
        is a "mean" duration in steps, the "probability" of a move, first state or symbol, or the "mean", "standard
        deviation" or "scale" of a feature. A column goes through its own values, or, where there are more than
        ``n_points``, through as many between its 5 % and 95 % quantiles. Intervals hold with probability ``level``;
        they come from the curvature at the estimate, on the scale of logarithms for what is positive and of logits for
        probabilities, for which X must be the data of the fit. With None there are none.

        Where an encoder stands between, a curve is of a context that has lasted for 128 rows, of values at their
        means; of symbols the others are the most frequent ones, and a column goes through all of its own.

        Raises ``ValueError`` where no table reads the context, and unless ``level`` is None for an encoder that was
        learnt: it stopped before the top, where there is no curvature to tell an interval from.
        """
        if level is not None and not 0.0 < level < 1.0:
            raise ValueError(f"level is {level!r}; expected a probability between 0 and 1, or None for no intervals.")
        n_points = whole("n_points", n_points, 2)
        sequences = self._sequences(X, lengths, context, groups)
        model = self._fitted_model().in_units_of(sequences)
        covariates = self._covariates(model, sequences)
        grid = Grid.of(model, covariates, n_points)

        def on_grid(moved: Model) -> np.ndarray:
            return np.stack([values for _, values in grid.numbers(moved)])

        estimate = on_grid(model)
        errors, z = np.full_like(estimate, np.nan), np.nan
        if level is not None:
            frozen = self.frozen_names()
            _check_has_top(model, frozen)
            errors = std_errors(on_grid, model, curvature(model, Objective(sequences, frozen=frozen)), frozen)
            errors = np.where(np.isfinite(estimate), errors, 0.0)  # what cannot happen cannot with any parameters
            z = float(ndtri(0.5 + level / 2.0))
        names, rows = _column_names(context, covariates.shape[1]), []
        for (key, _), values, error in zip(grid.numbers(model), estimate, errors, strict=True):
            value, low, high = key.shown(values), key.shown(values - z * error), key.shown(values + z * error)
            slope = key.slope(value)
            for point, (column, place) in enumerate(zip(grid.column, grid.value, strict=True)):
                if column not in grid.read_by[key.table]:
                    continue
                feature = None if key.feature is None else self.feature_labels[key.feature]
                what = key.table, key.quantity, key.state, key.to, feature, key.symbol
                numbers = value[point], error[point] * slope[point], low[point], high[point]
                rows.append((names[column], place, *what, *map(float, numbers)))
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
        if model.context is not None and not model.context.reads_context:
            raise ValueError(f"the encoder {model.context.name!r} reads the series itself alone, and no context.")
        if not any(part.uses_covariates for part in model.components().values()) or sequences.covariates is None:
            raise ValueError("no table of this model reads the context; make one contextual to ask what it does.")
        return sequences.covariates


def _check_has_top(model: Model, frozen: frozenset[str]) -> None:
    """Raise ``ValueError`` where the encoder was learnt."""
    if model.context is not None and "context" not in frozen:
        raise ValueError(
            f"the encoder {model.context.name!r} was learnt and stopped before the top, so no curvature tells an "
            "interval; ask with level=None for curves alone, or fit heads to a frozen=('context',) encoder."
        )


def _column_names(context: Any, n_columns: int) -> list[str]:
    return list(column_names(context) or [f"context_{c}" for c in range(n_columns)])
