"""Is a state worth its parameters? What is lost when two states become one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import polars as pl
import torch
from torch import Tensor

from hsmm import inference
from hsmm.identity import law_similarity
from hsmm.selection.candidate import rows_for
from hsmm.sequences import Sequences
from hsmm.training.em import Fit
from hsmm.training.objective import Objective
from hsmm.training.starts import Starts, initial_model
from hsmm.training.together import Climb, Fitting, alone
from hsmm.training.trainers import EM, Leg

STEPS = 2
"""EM steps by which pairs are compared: the new state settles, but others do not yet change their parts."""
_LAST_STEPS = 300
_TOLERANCE = 1e-7
_CELLS = 4_000_000  # of the (R, N, K) tables of pairs that are fitted side by side


@dataclass(frozen=True, eq=False)
class MergeTest:
    """Pairs of states made one and refitted, the pair least worth keeping first.

    ``table``: ``first``, ``second`` (states) and ``loss``, the nats of log-likelihood missing after a few EM steps: an
    upper bound. The first pair is refitted to the end: ``loss`` and ``bic_change`` (below 0: BIC prefers one state to
    the two) are what it then costs, ``merged`` the estimator in which it is one state, all numbered anew.
    """

    table: pl.DataFrame
    loss: float
    bic_change: float
    merged: Any

    @property
    def pair(self) -> tuple[int, int]:
        """The two states that are least worth telling apart."""
        first, second = self.table.row(0)[:2]
        return int(first), int(second)

    @property
    def prefers_merge(self) -> bool:
        """Whether BIC would rather have that pair as one state."""
        return self.bic_change < 0


def merge_test(
    model: Any,
    X: Any,
    lengths: Any = None,
    *,
    context: Any = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    n_steps: int = STEPS,
) -> MergeTest:
    """Make each pair of states (or of ``pairs``) of a fitted model one, refit from there, and weigh what was lost.

    A merged model starts from the most probable states with the pair's rows under one name and makes ``n_steps`` EM
    steps. X are the rows of the fit. Raises ``ValueError`` for a single state, and for models whose states have fixed
    places (masks, fixed laws).
    """
    sequences = rows_for(model, Sequences.from_arrays(X, lengths, context))
    trial = Merging(model, sequences)
    ranked = alone(trial.ranking(trial.all_pairs() if pairs is None else _checked(pairs, trial.n_states), n_steps))
    return alone(trial.finishing(ranked))


def merge_states(model: Any, X: Any, lengths: Any = None, *, context: Any = None) -> Any:
    """The estimator left after merging the least worthy pair again and again, for as long as BIC prefers it.

    The number of states by merge test is its ``n_states``; ``model`` itself, if every state is worth keeping.
    """
    while model.n_states > 1:
        test = merge_test(model, X, lengths, context=context)
        if not test.prefers_merge:
            break
        model = test.merged
    return model


class Merging:
    """A fitted model, what it decodes of its rows, and its likelihood: where every merge begins."""

    def __init__(self, model: Any, sequences: Sequences) -> None:
        self.model, self.sequences, self.tables = model, sequences, model._fitted_model()
        self.n_states = self.tables.transition.n_states
        if self.n_states < 2:
            raise ValueError("the model has a single state; there is nothing to merge.")
        if not self.tables.is_divisible:
            raise ValueError(
                "this model's initial law or transitions give its states fixed places, or parameters in common, so "
                "none can be left out; compare models of different n_states by a criterion."
            )
        if getattr(model, "frozen", ()):
            raise ValueError(f"{', '.join(model.frozen)} of this model are frozen, and a merge refits all; thaw them.")
        p = self.tables.potentials(sequences)
        self.reached = float(inference.log_partition(p).sum())
        self.decoded = inference.viterbi(p).states[0]

    def all_pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(self.n_states), 2))

    def closest_pairs(self, n_pairs: int) -> list[tuple[int, int]]:
        """The pairs of states whose emission laws are most alike."""
        alike = law_similarity(self.tables, self.sequences)
        return sorted(self.all_pairs(), key=lambda pair: -float(alike[pair]))[:n_pairs]

    def ranking(self, pairs: list[tuple[int, int]], n_steps: int) -> Fitting[pl.DataFrame]:
        """What each of the pairs would cost, the cheapest first."""
        size = max(1, _CELLS // (self.sequences.n_rows * self.n_states))
        chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        fits = list[Fit]()
        for chunk in chunks:
            fits.append((yield from self._fitting(chunk, n_steps)))
        losses = self.reached - torch.cat([fit.log_likelihood for fit in fits])
        rows = [
            {"first": first, "second": second, "loss": loss}
            for (first, second), loss in zip(pairs, losses.tolist(), strict=True)
        ]
        return pl.DataFrame(rows).sort("loss", maintain_order=True)

    def finishing(self, ranked: pl.DataFrame) -> Fitting[MergeTest]:
        """The cheapest merge climbed to its end."""
        fit, loss, bic_change = yield from self.climbing(ranked.row(0)[:2], _LAST_STEPS)
        ordered = fit.model.permuted(fit.model.emission.order())
        summary = {
            "log_likelihood": float(fit.log_likelihood[0]),
            "n_iter": int(fit.n_iter[0]),
            "converged": bool(fit.converged[0]),
        }
        merged = self.model.clone().set_params(n_states=self.n_states - 1)._adopt_loaded(ordered, summary)
        return MergeTest(ranked, loss, bic_change, merged)

    def climbing(self, pair: tuple[int, int], n_steps: int) -> Fitting[tuple[Fit, float, float]]:
        """The merge of a pair after so many EM steps, what it lost, and the change of BIC."""
        fit = yield from self._fitting([pair], n_steps)
        loss = self.reached - float(fit.log_likelihood[0])
        n_saved = self.tables.n_parameters() - fit.model.n_parameters()
        return fit, loss, 2.0 * loss - n_saved * math.log(self.sequences.n_observed_rows)

    def _fitting(self, pairs: Sequence[tuple[int, int]], max_iter: int) -> Fitting[Fit]:
        """Models of one state less, one for each pair."""
        n_states = self.n_states - 1
        labels = torch.stack([_joined(self.decoded, *pair) for pair in pairs])
        dwell = torch.stack([_mean_runs(row, self.sequences, n_states) for row in labels])
        structure = replace(self.tables, **{kind: part.bare() for kind, part in self.tables.components().items()})
        starts = Starts(labels, dwell, ["merged"] * len(pairs), torch.zeros(len(pairs), dtype=torch.bool))
        start = initial_model(structure, self.sequences, starts, seed=0)
        leg = Leg(max_iter, _TOLERANCE, accelerate=True)
        fit = yield Climb("em", EM(), leg, start, Objective(self.sequences))
        assert fit is not None
        return fit


def _joined(decoded: Tensor, first: int, second: int) -> Tensor:
    """The path with ``second`` called ``first``, and the states after ``second`` moved up."""
    states = torch.where(decoded == second, first, decoded)
    return (states - (states > second).long()).clamp(min=0)


def _mean_runs(labels: Tensor, sequences: Sequences, n_states: int) -> Tensor:
    """(K,) mean steps of the runs of each label; 2 for one that never occurs."""
    begins = torch.ones(len(labels), dtype=torch.bool)
    begins[1:] = labels.diff() != 0
    begins[sequences.offsets[:-1]] = True
    rows, runs = labels.bincount(minlength=n_states), labels[begins].bincount(minlength=n_states)
    return torch.where(runs > 0, rows / runs.clamp(min=1), 2.0).double().clamp(min=1.5)


def _checked(pairs: Sequence[tuple[int, int]], n_states: int) -> list[tuple[int, int]]:
    for pair in pairs:
        if len(pair) != 2 or not 0 <= min(pair) < max(pair) < n_states:
            raise ValueError(f"pairs hold {pair!r}; expected two different states from 0 to {n_states - 1}.")
    if not pairs:
        raise ValueError("pairs are empty; leave them out to test all.")
    return [(int(min(pair)), int(max(pair))) for pair in pairs]
