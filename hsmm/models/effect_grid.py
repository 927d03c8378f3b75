"""The numbers of a model's tables at chosen values of the context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor

from hsmm.components.covariates import OnCovariates
from hsmm.components.duration import DurationTables
from hsmm.components.emission.effect import Quantity, Scale
from hsmm.components.model import Model
from hsmm.sequences import Sequences

_INNER = (0.05, 0.95)  # quantiles between which a column is moved
_LASTING = 128  # rows for which an encoder with a memory has seen the same context

Function: TypeAlias = Callable[[np.ndarray], np.ndarray]


def _log(x: np.ndarray) -> np.ndarray:
    """NaN below 0, which a link may reach."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


@dataclass(frozen=True)
class _Scale:
    """Where an interval is symmetric: a number ``of`` what is shown, ``back`` again, and how fast that moves, by what
    is shown."""

    of: Function
    back: Function
    slope: Function


_SCALES: dict[Scale, _Scale] = {
    "identity": _Scale(np.asarray, np.asarray, np.ones_like),
    "log": _Scale(_log, np.exp, np.asarray),
    "logit": _Scale(logit, expit, lambda shown: shown * (1.0 - shown)),
}


@dataclass(frozen=True)
class Key:
    """Which number of which table, and the scale on which its interval is symmetric."""

    table: str
    quantity: Quantity
    scale: Scale
    state: int
    to: int | None = None
    feature: int | None = None
    symbol: int | None = None

    def shown(self, values: np.ndarray) -> np.ndarray:
        """From that scale."""
        return _SCALES[self.scale].back(values)

    def slope(self, shown: np.ndarray) -> np.ndarray:
        """How fast what is shown moves with a number on that scale."""
        return _SCALES[self.scale].slope(shown)


@dataclass(frozen=True, eq=False)
class Grid:
    """Points at which one ``column`` has a ``value``: each a series of two rows with the same context, ``rows``."""

    column: list[int]
    value: list[float]
    rows: Sequences
    read_by: dict[str, frozenset[int]]

    @classmethod
    def of(cls, model: Model, covariates: Tensor, n_points: int) -> Grid:
        every = frozenset(range(covariates.shape[1]))
        read_by = {
            kind: frozenset(part.columns or every) if isinstance(part, OnCovariates) else every
            for kind, part in model.components().items()
            if part.uses_covariates
        }
        symbols = model.context is not None and not model.context.standardises
        others = covariates.mode(0).values if symbols else covariates.mean(0)
        column, value, points = [], [], []
        for c in sorted(frozenset().union(*read_by.values())):
            for place in _places(covariates[:, c].numpy(), None if symbols else n_points):
                point = others.clone()
                point[c] = place
                column.append(c)
                value.append(float(place))
                points.append(point)
        return cls(column, value, _lasting(model, torch.stack(points)), read_by)

    def numbers(self, model: Model) -> Iterator[tuple[Key, np.ndarray]]:
        """(G,) each number of the first model's tables that read the context, on the scale of its key."""
        for key, shown in self._shown(model):
            yield key, _SCALES[key.scale].of(shown)

    def _shown(self, model: Model) -> Iterator[tuple[Key, np.ndarray]]:
        rows, first = self.rows, self.rows.offsets[:-1]
        if model.initial.uses_covariates:
            begins = model.initial.log_potentials(rows)[0].exp().numpy()
            for state, chance in enumerate(begins.T):
                yield Key("initial", "probability", "logit", state), chance
        if model.transition.uses_covariates:
            moves = model.transition.log_potentials(rows)[0, first].exp().numpy()
            for i, j in product(range(moves.shape[1]), repeat=2):
                if model.duration is None or i != j:
                    yield Key("transition", "probability", "logit", i, j), moves[:, i, j]
        if model.duration is not None and model.duration.uses_covariates:
            tables = model.duration.log_potentials(rows)
            tail = None if tables.log_tail is None else tables.log_tail.unsqueeze(1)
            lasts = DurationTables(tables.log_duration[:, first], tail).mean()[0].numpy()
            for state, steps in enumerate(lasts.T):
                yield Key("duration", "mean", "log", state), steps
        for effect in model.emission.effects(rows):
            for state, own in enumerate(effect.values[first].numpy().T):
                yield Key("emission", effect.quantity, effect.scale, state, None, effect.feature, effect.symbol), own


def _lasting(model: Model, points: Tensor) -> Sequences:
    """Series of two rows for each of ``points`` (G, C), which read what they would where the context has long been so
    and the values, unseen, are at their means."""
    encoder, n_points = model.context, len(points)
    blank = torch.zeros(2 * n_points, model.emission.n_features, dtype=points.dtype)
    pairs = Sequences(blank, blank.bool(), torch.arange(0, 2 * n_points + 1, 2), points.repeat_interleave(2, 0))
    if encoder is None or not encoder.has_memory:
        return model.beside(pairs)
    n_rows = _LASTING * (1 if encoder.is_causal else 2)
    unseen = torch.zeros(n_points * n_rows, model.emission.n_features, dtype=points.dtype)
    offsets = torch.arange(0, n_points * n_rows + 1, n_rows)
    long = Sequences(unseen, unseen.bool(), offsets, points.repeat_interleave(n_rows, 0))
    read = encoder.features(long)[:, offsets[:-1] + _LASTING - 1]
    return replace(pairs, encoded=read.repeat_interleave(2, 1))


def _places(values: np.ndarray, n_points: int | None) -> np.ndarray:
    """The values, or where there are more than ``n_points`` as many between the outer quantiles."""
    distinct = np.unique(values)
    if n_points is None or len(distinct) <= n_points:
        return distinct
    return np.unique(np.quantile(values, np.linspace(*_INNER, n_points)))
