"""Stepwise EM (Cappé & Moulines 2009): sufficient statistics averaged over batches, the M-step of the average."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hsmm.components.emission import EMISSIONS, Emission
from hsmm.components.emission.support import Support
from hsmm.components.model import Model
from hsmm.inference import Posterior
from hsmm.sequences import Sequences
from hsmm.training.objective import Objective

_COUNTS = ("duration", "residual", "tail_stay", "tail_leave", "transition")


@dataclass(frozen=True, eq=False)
class Summary(Sequences):
    """A few rows that stand for many; ``of_all`` are the mean and variance (F,) of those."""

    of_all: tuple[Tensor, Tensor] = (torch.zeros(0), torch.zeros(0))

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self.of_all


@dataclass(frozen=True, eq=False)
class Averages:
    """Expected statistics of the stream so far, for each row and (``initial``) for each series.

    ``state`` (1, P, K) weighs the rows of ``summary``; ``n_rows`` and ``n_series`` are those of the stream.
    """

    initial: Tensor
    counts: dict[str, Tensor]
    summary: Summary
    state: Tensor
    n_rows: int
    n_series: int
    n_batches: int = 1

    def maximised(self, model: Model, frozen: frozenset[str]) -> Model:
        """The model of these statistics, as many as the stream has had."""
        nothing = self.initial.new_zeros(1, 1)
        totals = {name: self.n_rows * table for name, table in self.counts.items()}
        counts = Posterior(nothing, self.n_rows * self.state, self.n_series * self.initial, **totals)
        return Objective(self.summary, frozen=frozen).maximise(model, counts)

    def then(self, batch: Averages, step: float, emission: Emission) -> Averages:
        """The averages moved towards those of a batch by this share of the way."""

        def mixed(old: Tensor, new: Tensor) -> Tensor:
            return old + step * (new - old)

        weights = torch.cat([(1.0 - step) * self.state, step * batch.state], 1)
        rows = [torch.cat([getattr(x.summary, name) for x in (self, batch)]) for name in ("values", "observed")]
        of_all = _pooled(self.summary.of_all, batch.summary.of_all, self.n_rows, batch.n_rows)
        summary, state = _summarised(rows[0], rows[1], weights, of_all, emission)
        return Averages(
            initial=mixed(self.initial, batch.initial),
            counts={name: mixed(table, batch.counts[name]) for name, table in self.counts.items()},
            summary=summary,
            state=state,
            n_rows=self.n_rows + batch.n_rows,
            n_series=self.n_series + batch.n_series,
            n_batches=self.n_batches + 1,
        )


def check_averageable(model: Model, sequences: Sequences) -> None:
    """Raise ``ValueError`` for a model whose statistics of several batches cannot be added up."""
    if any(part.uses_covariates for part in model.components().values()):
        raise ValueError("a stream cannot teach components that depend on context; use fit on all rows.")
    emission = model.emission
    if not _is_additive(emission, sequences.n_features):
        known = ", ".join(name for name, family in EMISSIONS.items() if _can_be_additive(family))
        raise ValueError(
            f"a stream cannot teach {emission.name!r} emissions: all rows would have to be kept; expected one of "
            f"{known}. Use fit on all rows."
        )
    if emission.sufficient == "moments" and not sequences.is_complete:
        raise ValueError(
            f"X has missing cells, with which the statistics of {emission.name!r} emissions are not additive; "
            "leave out such rows."
        )


def _is_additive(emission: Emission, n_features: int) -> bool:
    """Whether few rows can stand for many: those with the same moments, or the distinct ones where these are few."""
    return emission.sufficient != "rows" or all(law.support.is_discrete for law in emission.governing(n_features))


def _can_be_additive(family: type[Emission]) -> bool:
    """Whether a family is additive whatever its options."""
    support = getattr(family, "support", None)
    return family.sufficient != "rows" or (isinstance(support, Support) and support.is_discrete)


def averages(model: Model, sequences: Sequences) -> Averages:
    """The statistics of one batch under a single model."""
    objective = Objective(sequences)
    counts = objective.expected_counts(objective.potentials(model))
    mean, variance = sequences.moments
    summary, state = _summarised(
        sequences.values, sequences.observed, counts.state / sequences.n_rows, (mean, variance), model.emission
    )
    return Averages(
        initial=counts.initial / sequences.n_series,
        counts={name: getattr(counts, name) / sequences.n_rows for name in _COUNTS},
        summary=summary,
        state=state,
        n_rows=sequences.n_rows,
        n_series=sequences.n_series,
    )


def _summarised(
    values: Tensor, observed: Tensor, weights: Tensor, of_all: tuple[Tensor, Tensor], emission: Emission
) -> tuple[Summary, Tensor]:
    """Few rows and weights (1, P, K) with the sufficient statistics of many."""
    if emission.sufficient == "mean":
        values, observed, weights = _mean_cells(values, observed, weights[0])
    elif emission.sufficient == "moments":
        values, weights = _sigma_points(values, weights[0])
        observed = torch.ones_like(values, dtype=torch.bool)
    else:
        table, of_row = (
            torch.where(observed, values, torch.nan).nan_to_num(torch.inf).unique(dim=0, return_inverse=True)
        )
        weights = weights.new_zeros(1, len(table), weights.shape[-1]).index_add_(1, of_row, weights)
        observed = table.isfinite()
        values = torch.where(observed, table, 0.0)
    return Summary(values, observed, torch.tensor([0, len(values)]), of_all=of_all), weights


def _mean_cells(values: Tensor, observed: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A row for each state and feature, with its mean and its weight of the observed cells; other cells are missing."""
    n_states, n_features = weights.shape[1], values.shape[1]
    mass = weights.mT @ observed.to(weights.dtype)
    mean = (weights.mT @ (values * observed)) / mass.clamp(min=1e-300)
    state, feature = torch.arange(n_states).repeat_interleave(n_features), torch.arange(n_features).repeat(n_states)
    seen = torch.nn.functional.one_hot(feature, n_features).bool()
    own = torch.nn.functional.one_hot(state, n_states).to(weights.dtype)
    return seen * mean[state], seen, (own * mass[state, feature, None]).unsqueeze(0)


def _sigma_points(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """2 F rows for each state, with the mean and covariance that the weights (N, K) give the values (N, F)."""
    mass = weights.sum(0).clamp(min=1e-300)
    mean = weights.mT @ values / mass[:, None]
    offset = values - mean[:, None]
    covariance = (offset * weights.mT.unsqueeze(-1)).mT @ offset / mass[:, None, None]
    spread, axes = torch.linalg.eigh(covariance)
    n_features = values.shape[1]
    arms = (axes * (n_features * spread.clamp(min=0.0)).sqrt().unsqueeze(-2)).mT
    points = torch.cat([mean[:, None] + arms, mean[:, None] - arms], 1).flatten(0, 1)
    own = torch.eye(len(mass), dtype=values.dtype).repeat_interleave(2 * n_features, 0)
    return points, (own * weights.sum(0) / (2 * n_features)).unsqueeze(0)


def _pooled(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], n_one: int, n_other: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance of two samples together."""
    share = n_other / (n_one + n_other)
    shift = other[0] - one[0]
    variance = (1.0 - share) * one[1] + share * other[1] + share * (1.0 - share) * shift**2
    return one[0] + share * shift, variance


def step_size(n_batches: int, decay: float) -> float:
    """How far the averages move towards the batch that follows ``n_batches``; all the way to the first."""
    return float((n_batches + 2.0) ** -decay) if n_batches else 1.0


def learn(
    model: Model, before: Averages | None, sequences: Sequences, *, decay: float, frozen: frozenset[str]
) -> tuple[Model, Averages]:
    """The model and averages after one batch more."""
    batch = averages(model, sequences)
    now = batch if before is None else before.then(batch, step_size(before.n_batches, decay), model.emission)
    return now.maximised(model, frozen), now
