"""Which state of one fit is which of another's: docs/maths/identity.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from hsmm import inference
from hsmm.components.model import Model
from hsmm.errors import ImpossibleDataError
from hsmm.sequences import Sequences

EMISSION_WEIGHT = 0.1
LEAST_SIMILARITY = 1.0 / 3.0
_NEVER = -1e6


class FittedModel(Protocol):
    """An estimator that can be asked for its tables and numbered anew."""

    def _fitted_model(self) -> Model: ...
    def permuted(self, order: Any) -> Self: ...


@dataclass(frozen=True, eq=False)
class StateMatch:
    """The states of a model beside those of a reference with K states.

    - ``permutation`` (n_states,): the model's state that takes each place: the partners of the reference's states in
      their order, then the births
    - ``margin``: how decided this is, 0 (another assignment does as well) to 1; the least of ``margins``
    - ``births``: states of the model without a partner, by its numbers; ``deaths``: those of the reference, by its own
    - ``partners`` (K,): the model's state for each of the reference's, -1 for a death
    - ``margins`` (K,): how decided each partner is, NaN for a death
    - ``similarity`` (K, n_states): 0 to 1
    """

    permutation: np.ndarray
    margin: float
    births: tuple[int, ...]
    deaths: tuple[int, ...]
    partners: np.ndarray
    margins: np.ndarray
    similarity: np.ndarray

    @property
    def identities(self) -> np.ndarray:
        """(n_states,) the number each of the model's states bears from now on: its partner's, or for a birth a new one.

        New numbers follow the reference's, so that those of the dead are not used again.
        """
        numbers = np.empty(len(self.permutation), dtype=np.int64)
        alive = np.flatnonzero(self.partners >= 0)
        numbers[self.partners[alive]] = alive
        numbers[list(self.births)] = len(self.partners) + np.arange(len(self.births))
        return numbers

    def apply(self, model: FittedModel) -> Any:
        """A copy of the model with its states in the order of ``permutation``, in every table."""
        return model.permuted(self.permutation)

    def rename(self, states: Any) -> np.ndarray:
        """Decoded states of the model under the numbers of :attr:`identities`; -1, an impossible row, stays -1."""
        decoded = np.asarray(states)
        known = np.arange(-1, len(self.permutation))
        if decoded.dtype.kind not in "iu" or not np.isin(decoded, known).all():
            raise ValueError(f"states hold other values than -1 … {known[-1]}; decode with this model.")
        return np.append(self.identities, -1)[decoded]


def match_states(
    reference: FittedModel,
    model: FittedModel,
    X: Any,
    lengths: Any = None,
    *,
    context: Any = None,
    reference_X: Any = None,
    min_similarity: float = LEAST_SIMILARITY,
) -> StateMatch:
    """Assign the states of ``model`` to those of ``reference`` by what they say of the same rows.

    The similarity of two states is mostly the overlap of their smoothed probabilities over the rows, partly that of
    their emission laws (``docs/maths/identity.md``); the assignment of the greatest total similarity is taken, and a
    pair below ``min_similarity`` is a death and a birth instead. The numbers of states may differ.

    ``reference_X`` are the same rows in the reference's units, where X was scaled otherwise for each of the two.
    Raises ``ValueError`` for rows that either model cannot explain.
    """
    if not 0.0 <= min_similarity <= 1.0:
        raise ValueError(f"min_similarity is {min_similarity!r}; expected a number from 0 to 1.")
    rows = Sequences.from_arrays(X, lengths, context)
    theirs = rows if reference_X is None else Sequences.from_arrays(reference_X, lengths, context)
    if theirs.n_rows != rows.n_rows:
        raise ValueError(f"reference_X has {theirs.n_rows} rows but X has {rows.n_rows}; give the same rows.")
    similarity = state_similarity(reference._fitted_model(), theirs, model._fitted_model(), rows)
    return _assign(similarity.numpy(), min_similarity)


def match_laws(
    reference: FittedModel,
    model: FittedModel,
    X: Any,
    lengths: Any = None,
    *,
    context: Any = None,
    min_similarity: float = LEAST_SIMILARITY,
) -> StateMatch:
    """Assign the states of ``model`` to those of ``reference`` by their emission laws alone, seen at the same rows.

    For models of different series in common units, whose rows need not be each other's: of two models with few states
    each row has a most probable one in both, however unlike. X holds rows of both series.
    """
    rows = Sequences.from_arrays(X, lengths, context)
    laws = [_laws(of._fitted_model(), rows) for of in (reference, model)]
    return _assign(overlap(*laws).numpy(), min_similarity)


def state_similarity(first: Model, first_rows: Sequences, second: Model, second_rows: Sequences) -> Tensor:
    """(K, L) similarity of each state of one model with each of another, 0 to 1."""
    (states, laws), (other_states, other_laws) = _portrait(first, first_rows), _portrait(second, second_rows)
    return (1.0 - EMISSION_WEIGHT) * overlap(states, other_states) + EMISSION_WEIGHT * overlap(laws, other_laws)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """(K, L) Σ min / Σ max over the rows of non-negative columns (N, K) and (N, L): 1 where two are the same."""
    total, other = first.sum(0), second.sum(0)
    shared = torch.stack([torch.minimum(column.unsqueeze(1), second).sum(0) for column in first.unbind(1)])
    joined = total.unsqueeze(1) + other - shared
    return torch.where(joined > 0, shared / joined, 0.0)


def law_similarity(model: Model, rows: Sequences) -> Tensor:
    """(K, K) similarity of the emission laws of a model's states, seen at these rows."""
    laws = _laws(model, rows)
    return overlap(laws, laws)


def _laws(model: Model, rows: Sequences) -> Tensor:
    own = rows if model.uses_covariates else replace(rows, covariates=None)
    return _shares(model.potentials(own).log_emission[0], rows)


def _shares(log_density: Tensor, rows: Sequences) -> Tensor:
    """(N, K) how each state's emission law shares itself out among the rows that are observed."""
    observed = rows.observed.any(1, keepdim=True)
    return log_density.masked_fill(~observed, -torch.inf).softmax(0).nan_to_num(0.0)


def _portrait(model: Model, rows: Sequences) -> tuple[Tensor, Tensor]:
    """(N, K) p(state | all rows), and the shares of the states' laws."""
    own = rows if model.uses_covariates else replace(rows, covariates=None)
    p = model.potentials(own)
    posterior = inference.posterior(p)
    if not bool(posterior.log_likelihood.isfinite().all()):
        raise ImpossibleDataError("some series of X have probability zero under a model; leave them out.")
    return posterior.state[0], _shares(p.log_emission[0], rows)


def _assign(similarity: np.ndarray, least: float) -> StateMatch:
    from scipy.optimize import linear_sum_assignment

    n_reference, n_states = similarity.shape
    size = max(similarity.shape)
    square = np.zeros((size, size))
    square[:n_reference, :n_states] = similarity
    _, assigned = linear_sum_assignment(square, maximize=True)

    partners = np.full(n_reference, -1)
    for state, partner in enumerate(assigned[:n_reference]):
        if partner < n_states and similarity[state, partner] >= max(least, np.finfo(float).tiny):
            partners[state] = partner
    margins = np.full(n_reference, np.nan)
    for state in np.flatnonzero(partners >= 0).tolist():
        margins[state] = _margin(square, assigned, state, equal=n_reference == n_states)
    births = tuple(int(state) for state in np.setdiff1d(np.arange(n_states), partners))
    return StateMatch(
        permutation=np.array([*partners[partners >= 0], *births], dtype=np.int64),
        margin=float(np.nanmin(margins)) if (partners >= 0).any() else 0.0,
        births=births,
        deaths=tuple(int(state) for state in np.flatnonzero(partners < 0)),
        partners=partners,
        margins=margins,
        similarity=similarity,
    )


def _margin(square: np.ndarray, assigned: np.ndarray, state: int, *, equal: bool) -> float:
    """What the best assignment without this pair loses, as a share of the most it could lose."""
    from scipy.optimize import linear_sum_assignment

    if len(square) == 1:
        return float(square[0, 0])
    without = square.copy()
    without[state, assigned[state]] = _NEVER
    second = without[linear_sum_assignment(without, maximize=True)].sum()
    lost = square[np.arange(len(square)), assigned].sum() - second
    return float(np.clip(lost / (2.0 if equal else 1.0), 0.0, 1.0))
