"""Fit every candidate, score it, rank them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import polars as pl
import torch

from hsmm.selection.criteria import CRITERIA, CriterionName, Evidence
from hsmm.sequences import Sequences

HELD_OUT_SHARE = 0.2
_SCHEMA: dict[str, Any] = {"warnings": pl.String, "n_parameters": pl.Int64, "n_iter": pl.Int64}


class Candidate(Protocol):
    """An estimator that can be fitted and weighed."""

    log_likelihood_: float
    n_parameters_: int
    n_iter_: int
    converged_: bool

    def clone(self) -> Self: ...
    def describe(self) -> dict[str, Any]: ...
    def check_options(self) -> None: ...
    def fit_sequences(self, sequences: Sequences) -> Self: ...
    def score_sequences(self, sequences: Sequences) -> float: ...
    def log_joint(self, sequences: Sequences) -> float: ...


@dataclass(frozen=True, eq=False)
class Selection:
    """``table`` ranks the candidates, best first; its column ``candidate`` indexes ``models``, all fitted.

    A candidate that these data cannot carry ranks last, its reason in ``warnings``, its model None.
    """

    table: pl.DataFrame
    models: list[Any]
    criterion: CriterionName

    @property
    def best(self) -> Any:
        """The fitted estimator at the head of the table."""
        return self.models[self.table["candidate"][0]]


def select_model(
    X: Any,
    candidates: Sequence[Candidate],
    lengths: Any = None,
    *,
    criterion: CriterionName = "bic",
    progress: Callable[[int, int, str], None] | None = None,
) -> Selection:
    """Fit a copy of each candidate on X and rank them.

    ``held_out`` fits each once more on the first 80 % of every series and scores the rest given that part, in nats per
    row; it is computed only where it is the criterion. ``progress`` is called with (done, total, label).
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}; expected one of {', '.join(CRITERIA)}.")
    if not candidates:
        raise ValueError("there are no candidates; give at least one estimator.")
    sequences = Sequences.from_arrays(X, lengths)
    for candidate in candidates:
        candidate.check_options()
    models, rows = [], []
    failure: ValueError | None = None
    for index, candidate in enumerate(candidates):
        described = candidate.describe()
        if progress is not None:
            progress(index, len(candidates), ", ".join(str(value) for value in described.values()))
        try:
            model, notes = _fit_quietly(candidate, sequences)
            evidence = _evidence(model, candidate, sequences, with_held_out=criterion == "held_out")
            row = _row(model, evidence, notes)
        except ValueError as error:
            model, row, failure = None, {"converged": False, "warnings": f"failed: {error}"}, error
        models.append(model)
        rows.append({"candidate": index, **described, **row})
    if progress is not None:
        progress(len(candidates), len(candidates), "done")
    if failure is not None and not any(models):
        raise failure
    worst_last = CRITERIA[criterion].best_is == "highest"
    table = pl.DataFrame(rows, schema_overrides=_SCHEMA, infer_schema_length=None).select(
        pl.exclude("warnings"), "warnings"
    )
    ranked = table.sort(pl.col(criterion).fill_nan(None), descending=worst_last, nulls_last=True)
    return Selection(ranked, models, criterion)


def _fit_quietly(candidate: Candidate, sequences: Sequences) -> tuple[Any, list[str]]:
    """The fitted copy, with its warnings as text for the table."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = candidate.clone().fit_sequences(sequences)
    return model, [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]


def _evidence(model: Any, candidate: Candidate, sequences: Sequences, *, with_held_out: bool) -> Evidence:
    return Evidence(
        log_likelihood=model.log_likelihood_,
        log_joint=model.log_joint(sequences),
        n_parameters=model.n_parameters_,
        n_observations=sequences.n_observed_rows,
        held_out=held_out_density(candidate, sequences) if with_held_out else math.nan,
    )


def held_out_density(candidate: Candidate, sequences: Sequences, share: float = HELD_OUT_SHARE) -> float:
    """Mean log p(row | rows before it) over the last ``share`` of each series, fitted on what comes before."""
    kept = torch.ceil(sequences.lengths * (1.0 - share)).long().clamp(min=1)
    if bool((kept == sequences.lengths).all()):
        raise ValueError(f"every series is too short to hold out {share:.0%} of it; choose another criterion.")
    head = sequences.head(kept)
    model, _ = _fit_quietly(candidate, head)
    n_rows = sequences.n_observed_rows - head.n_observed_rows
    return (model.score_sequences(sequences) - model.score_sequences(head)) / max(n_rows, 1)


def _row(model: Any, evidence: Evidence, notes: list[str]) -> dict[str, Any]:
    return {
        **{name: criterion.score(evidence) for name, criterion in CRITERIA.items()},
        "log_likelihood": evidence.log_likelihood,
        "n_parameters": evidence.n_parameters,
        "n_iter": model.n_iter_,
        "converged": model.converged_,
        "warnings": "; ".join(notes),
    }
