"""A fitted model in a table: one row a state."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import polars as pl
from torch import Tensor

from hsmm.components.emission import Emission, Product
from hsmm.components.model import Model
from hsmm.errors import NotFittedError
from hsmm.sequences import Sequences
from hsmm.training.information import curvature, std_errors
from hsmm.training.objective import Objective


def mean_durations(model: Model) -> Tensor:
    """(R, K) expected steps of a stay; infinite where it never ends."""
    if model.duration is not None:
        return model.duration.mean()
    return 1.0 / (1.0 - model.transition.typical().diagonal(dim1=-2, dim2=-1))


def state_table(model: Model, share: np.ndarray | None, features: list[str]) -> pl.DataFrame:
    """``state``, ``share``, ``mean_duration`` and what the emission says of each of the ``features``.

    That is "mean_…" and "sd_…" where it has these, otherwise its parameters by name and index.
    """
    columns = _quantities(model, features)
    n_states = len(columns["mean_duration"])
    shown = np.full(n_states, np.nan) if share is None else share
    made = pl.DataFrame({"state": np.arange(n_states), "share": shown, **columns})
    return made.with_columns(pl.col("share").fill_nan(None))


def with_std_errors(
    table: pl.DataFrame, model: Model, sequences: Sequences, frozen: frozenset[str], features: list[str]
) -> pl.DataFrame:
    """The table with a column "…_se" beside each: by the delta method, NaN for what the data do not determine."""
    found = curvature(model, Objective(sequences, frozen=frozen))

    def of(moved: Model) -> np.ndarray:
        return np.stack(list(_quantities(moved, features).values()))

    errors = dict(zip(_quantities(model, features), std_errors(of, model, found, frozen), strict=True))
    names = [part for name in table.columns for part in (name, *([f"{name}_se"] if name in errors else []))]
    return table.with_columns(**{f"{name}_se": pl.Series(error) for name, error in errors.items()}).select(names)


def emission_columns(emission: Emission, features: list[str]) -> dict[str, np.ndarray]:
    """(K,) what the first model's emission says of each feature, by name."""
    if isinstance(emission, Product):
        of_parts = zip(emission.laws, emission.columns or (), strict=True)
        found = [emission_columns(law, [features[i] for i in places]) for law, places in of_parts]
        return {name: values for part in found for name, values in part.items()}
    moments = emission.moments()
    if moments is None:
        prefix = "" if len(features) > 1 else f"{features[0]}."
        return {f"{prefix}{name}": values for name, values in _parameters(emission)}
    made: dict[str, np.ndarray] = {}
    for f, name in enumerate(features):
        made |= {f"{what}_{name}": x[0, :, f].numpy() for what, x in zip(("mean", "sd"), moments, strict=True)}
    return made


def _parameters(emission: Emission) -> Iterator[tuple[str, np.ndarray]]:
    """Each number that is learnt for every state, by its parameter's name and index."""
    for name in emission.constraints():
        values = emission.fitted(name)
        shape = values.shape[1:]
        for place, column in zip(product(*map(range, shape)), values.reshape(len(values), -1).T, strict=True):
            index = ", ".join(str(i) for i, size in zip(place, shape, strict=True) if size > 1)
            yield f"{name}[{index}]" if index else name, column


def _quantities(model: Model, features: list[str]) -> dict[str, np.ndarray]:
    return {"mean_duration": mean_durations(model)[0].numpy(), **emission_columns(model.emission, features)}


def shares(weights: Tensor) -> np.ndarray:
    """(K,) each state's part of the rows, of posteriors (N, K)."""
    return weights.mean(0).numpy()


def require_data(X: object) -> None:
    """Raise ``NotFittedError`` where standard errors are asked for without the data that they come from."""
    if X is None:
        raise NotFittedError("standard errors come from the data of the fit; give them: summary(X, lengths, …).")
