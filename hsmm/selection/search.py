"""Fit every candidate, score it, rank them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from torch import Tensor
from torch.linalg import LinAlgError

from hsmm.selection.candidate import Candidate, fitting_quietly, heard, rows_for
from hsmm.selection.criteria import CRITERIA, Evidence
from hsmm.selection.held_out import HeldOut, held_out_scores
from hsmm.selection.ranking import RULES, Rule, chosen_first, ranked, with_errors
from hsmm.selection.reasons import Reason, seeking_reasons, told_reasons
from hsmm.selection.rows import rows_of_x, rows_of_y
from hsmm.selection.splits import LastShare, Splitter
from hsmm.selection.stability import share_that_reached
from hsmm.sequences import Sequences
from hsmm.spelling import nearest
from hsmm.training.supervision import known_states
from hsmm.training.together import Fitting, alone

Doubts = Literal["all", "chosen", "told"]
_SCHEMA: dict[str, Any] = {
    "n_parameters": pl.Int64,
    "n_iter": pl.Int64,
    "stability": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class Selection:
    """``table`` ranks the candidates, the chosen one first; its column ``candidate`` indexes the lists.

    Columns: what sets a candidate apart, every criterion, ``held_out_se`` (standard error of ``held_out``),
    ``behind_se`` (that of its distance from the best), ``log_likelihood``, ``n_parameters``, ``n_iter``, ``converged``,
    ``stability`` (share of the restarts that came within 1e-3 nats per row of the best, a lower bound), ``reasons``
    (codes, separated by spaces) and ``warnings`` (the same in words).

    - ``models``: all candidates, fitted; None for one that these data cannot carry, which ranks last
    - ``reasons``: what is doubtful about each
    - ``held_out``: the scores of its pieces, where that was the criterion
    """

    table: pl.DataFrame
    models: list[Any]
    criterion: str
    reasons: list[tuple[Reason, ...]]
    held_out: list[HeldOut | None]

    @property
    def best(self) -> Any:
        """The fitted estimator at the head of the table."""
        return self.models[self.table["candidate"][0]]


def select_model(
    X: Any,
    candidates: Sequence[Candidate],
    lengths: Any = None,
    *,
    y: Any = None,
    session_starts: Any = None,
    context: Any = None,
    criterion: str = "bic",
    splits: Splitter | None = None,
    rule: Rule = "best",
    starts: Sequence[Any] | None = None,
    states: Any = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Selection:
    """Fit a copy of each candidate on X, or on the responses ``y`` beside the covariates X, and rank them.

    With ``y`` (n_samples,) or (n_samples, n_responses), which :class:`hsmm.GLMHMM` needs, X and ``session_starts`` are
    as in its ``fit``, or ``lengths`` say the same; every other candidate takes y for its X, and X for its ``context``
    if it uses one, so that all speak of the same rows. Rows that ``GLMHMM.fit`` leaves out, with NaN at the ends of a
    session, are left out for all.

    ``held_out`` fits each once more in every fold of ``splits`` and scores the rows held out, in nats per row; by
    default one fold, the last 20 % of every series given the first 80 %. It is computed only where it is the criterion.
    With it the ``rule`` "one_standard_error" takes the simplest candidate within one standard error of the best
    (Breiman et al. 1984), "paired_standard_error" the simplest whose distance from the best is within one standard
    error of that distance. ``context`` goes to the candidates that use it. ``starts`` holds for each candidate a
    fitted estimator of its kind to begin one restart from, or None; folds begin without it. ``states`` (n_samples,) are
    the states that are known, -1 where they are not, as in ``fit``; folds are fitted without them. ``progress`` is
    called with (done, total, label).
    """
    _check_candidates(candidates)
    if y is None:
        sequences = rows_of_x(X, candidates, lengths, context, session_starts)
    else:
        sequences, kept = rows_of_y(X, y, candidates, lengths, context, session_starts)
        candidates = [candidate.for_rows(X, y) for candidate in candidates]
        states = np.asarray(states)[kept] if np.shape(states) == kept.shape else states
    check_weighing(candidates, criterion, rule, splits, sequences)
    if starts is not None and len(starts) != len(candidates):
        raise ValueError(
            f"starts has {len(starts)} entries for {len(candidates)} candidates; give one for each, or None."
        )
    how = Weighing(criterion, splits, rule)
    return alone(selecting(sequences, candidates, how, starts=starts, states=states, progress=progress))


def _check_candidates(candidates: Any) -> None:
    if not isinstance(candidates, Sequence) or isinstance(candidates, str):
        found = type(candidates).__name__
        raise TypeError(f"candidates is of type {found}; expected a list of estimators, such as [HMM(2), HMM(3)].")
    for place, candidate in enumerate(candidates):
        if not hasattr(candidate, "fitting") or isinstance(candidate, type):
            found = f"the class {candidate.__name__}" if isinstance(candidate, type) else repr(candidate)
            raise TypeError(f"candidates[{place}] is {found}; expected an estimator, such as HMM(3).")


@dataclass(frozen=True)
class Weighing:
    """What candidates are ranked by; ``doubts``: which are tested for what may be wrong with them, or only told it."""

    criterion: str = "bic"
    splits: Splitter | None = None
    rule: Rule = "best"
    doubts: Doubts = "all"

    def tests(self, *, is_chosen: bool) -> bool:
        """Whether a candidate is tested."""
        return self.doubts == "all" or (self.doubts == "chosen" and is_chosen)


def selecting(
    sequences: Sequences,
    candidates: Sequence[Candidate],
    how: Weighing,
    *,
    starts: Sequence[Any] | None = None,
    states: Any = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Fitting[Selection]:
    """:func:`select_model` of packed data, to be run alone or together with others."""
    found: list[_Weighed] = []
    failure: Exception | None = None
    for index, candidate in enumerate(candidates):
        described = candidate.describe()
        if progress is not None:
            progress(index, len(candidates), ", ".join(str(value) for value in described.values()))
        try:
            start = None if starts is None else starts[index]
            rows = rows_for(candidate, sequences)
            known = known_states(states, rows, described["n_states"])
            weighed = yield from _weighing(candidate, rows, how, start, known)
        except (ValueError, LinAlgError) as error:
            weighed, failure = _failed(error), error
        found.append(weighed)
        weighed.row.update({"candidate": index, **described})
    if progress is not None:
        progress(len(candidates), len(candidates), "done")
    models = [weighed.model for weighed in found]
    if failure is not None and not any(model is not None for model in models):
        raise failure
    scores = [weighed.held_out for weighed in found]
    table = pl.DataFrame([weighed.row for weighed in found], schema_overrides=_SCHEMA, infer_schema_length=None)
    table = chosen_first(with_errors(ranked(table, how.criterion), scores), how.rule)
    chosen = table["candidate"][0]
    doubts = list[tuple[Reason, ...]]()
    for index, (candidate, weighed) in enumerate(zip(candidates, found, strict=True)):
        tested = how.tests(is_chosen=index == chosen)
        doubts.append((yield from weighed.doubting(rows_for(candidate, sequences), tested=tested)))
    words = [_words(own, weighed.told) for own, weighed in zip(doubts, found, strict=True)]
    table = table.with_columns(
        pl.Series(name, [words[candidate][name] for candidate in table["candidate"]], dtype=pl.String)
        for name in ("reasons", "warnings")
    )
    described_by = [name for candidate in candidates for name in candidate.describe()]
    return Selection(table.select(_in_order(table.columns, described_by)), models, how.criterion, doubts, scores)


@dataclass(frozen=True, eq=False)
class _Weighed:
    """One candidate, fitted and judged; ``row`` is its line of the table, ``caught`` what it warned of."""

    model: Any
    row: dict[str, Any]
    caught: list[warnings.WarningMessage]
    held_out: HeldOut | None = None
    failure: tuple[Reason, ...] = ()

    @property
    def told(self) -> list[str]:
        return [str(warning.message) for warning in self.caught]

    def doubting(self, sequences: Sequences, *, tested: bool) -> Fitting[tuple[Reason, ...]]:
        """What is doubtful about it: all that tests find, or what the fit told of itself."""
        if self.model is None:
            return self.failure
        told = told_reasons(self.model, self.caught)
        if not tested:
            return told
        found, _ = yield from heard(seeking_reasons(self.model, sequences))
        return (*told, *found)


def _weighing(
    candidate: Candidate, sequences: Sequences, how: Weighing, start: Any, states: Tensor | None
) -> Fitting[_Weighed]:
    model, caught = yield from fitting_quietly(candidate, sequences, start, states)
    held_out = None
    if CRITERIA[how.criterion].on_held_out:
        held_out = yield from held_out_scores(candidate, (how.splits or LastShare()).split(sequences))
    evidence = Evidence(
        log_likelihood=model.log_likelihood_,
        log_joint=model.log_joint(sequences),
        n_parameters=model.n_parameters_,
        n_observations=sequences.n_observed_rows,
        held_out=math.nan if held_out is None else held_out.mean,
    )
    row = {
        **{name: criterion.score(evidence) for name, criterion in CRITERIA.items()},
        "log_likelihood": evidence.log_likelihood,
        "n_parameters": evidence.n_parameters,
        "n_iter": model.n_iter_,
        "converged": model.converged_,
        "stability": share_that_reached(model, sequences),
    }
    return _Weighed(model, row, caught, held_out)


def _failed(error: Exception) -> _Weighed:
    doubts = (Reason("failed", (), f"failed: {error}"),)
    return _Weighed(None, {"converged": False}, [], failure=doubts)


def _words(doubts: tuple[Reason, ...], told: list[str]) -> dict[str, str]:
    """The columns of codes and of sentences."""
    said = any("without converging" in sentence for sentence in told)
    more = [
        doubt.detail for doubt in doubts if doubt.detail not in told and not (said and doubt.code == "not_converged")
    ]
    codes = dict.fromkeys(doubt.code for doubt in doubts)
    return {"reasons": " ".join(codes), "warnings": "; ".join([*told, *more])}


def _in_order(columns: list[str], described: list[str]) -> list[str]:
    first = list(dict.fromkeys(["candidate", *described, *CRITERIA, "held_out_se", "behind_se"]))
    last = ["stability", "reasons", "warnings"]
    return [*first, *(name for name in columns if name not in first + last), *last]


def _without_count() -> list[str]:
    return [name for name, criterion in CRITERIA.items() if not criterion.counts_parameters]


def check_weighing(
    candidates: Sequence[Candidate], criterion: str, rule: str, splits: Splitter | None, sequences: Sequences
) -> None:
    """Raise ``ValueError`` for options that do not fit each other, the candidates or the data."""
    if criterion not in CRITERIA:
        raise ValueError(
            f"criterion is {criterion!r}; expected one of {', '.join(CRITERIA)}{nearest(criterion, CRITERIA)}"
        )
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; expected one of {', '.join(RULES)}{nearest(rule, RULES)}")
    chosen = CRITERIA[criterion]
    if not chosen.on_held_out and (rule != "best" or splits is not None):
        given = f"rule {rule!r}" if rule != "best" else "splits"
        raise ValueError(f"{given} needs scores on held-out rows; use criterion='held_out', not {criterion!r}.")
    if not candidates:
        raise ValueError("there are no candidates; give at least one estimator.")
    for candidate in candidates:
        candidate.check_options()
        if chosen.counts_parameters and not candidate.is_countable:
            raise ValueError(
                f"criterion is {criterion!r}, which counts parameters, but a candidate has components whose parameters "
                f"do not count its freedom, as an encoder's do not; choose one of {', '.join(_without_count())}."
            )
    if sequences.covariates is not None and not any(candidate.uses_context for candidate in candidates):
        raise ValueError("context is given, but no candidate uses it; leave it out, or add one that does.")
    if rule != "best":
        n_pieces = sum(
            int((fold.sums(fold.counts.double()) > 0).sum()) for fold in (splits or LastShare()).split(sequences)
        )
        if n_pieces < 2:
            raise ValueError(
                f"rule {rule!r} needs two held-out pieces at least, a series in a fold each; found {n_pieces}. Give "
                "splits, such as ForwardChaining(4)."
            )
