"""What a candidate must be able to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Protocol, Self

import polars as pl
from torch import Tensor

from hsmm.components.model import Model
from hsmm.sequences import Sequences
from hsmm.training.together import Climb, Fitting, Result


class Candidate(Protocol):
    """An estimator that can be fitted and weighed."""

    regresses: ClassVar[bool]
    log_likelihood_: float
    n_iter_: int
    converged_: bool

    @property
    def n_parameters_(self) -> int: ...
    @property
    def uses_context(self) -> bool: ...
    @property
    def is_countable(self) -> bool: ...
    @property
    def restarts_(self) -> pl.DataFrame: ...
    def clone(self) -> Self: ...
    def for_rows(self, X: Any, y: Any) -> Self: ...
    def describe(self) -> dict[str, Any]: ...
    def check_options(self) -> None: ...
    def fitting(self, sequences: Sequences, *, start: Any = None, states: Tensor | None = None) -> Fitting[Self]: ...
    def score_sequences(self, sequences: Sequences) -> float: ...
    def log_density_sequences(self, sequences: Sequences) -> Tensor: ...
    def log_joint(self, sequences: Sequences) -> float: ...
    def _fitted_model(self) -> Model: ...


def fitting_quietly(
    candidate: Candidate, sequences: Sequences, start: Any = None, states: Tensor | None = None
) -> Fitting[tuple[Any, list[warnings.WarningMessage]]]:
    """The fitted copy, one of its restarts begun at ``start``, and what it warned of."""
    given = {name: value for name, value in (("start", start), ("states", states)) if value is not None}
    return (yield from heard(candidate.clone().fitting(sequences, **given)))


def heard(fitting: Fitting[Result]) -> Fitting[tuple[Result, list[warnings.WarningMessage]]]:
    """The result of a fit between whose climbs nothing is warned of, and what would have been."""
    caught = list[warnings.WarningMessage]()
    step: Callable[[], Climb] = fitting.__next__
    while True:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                climb = step()
            except StopIteration as stop:
                caught += told
                return stop.value, [warning for warning in caught if issubclass(warning.category, UserWarning)]
        caught += told
        try:
            step = partial(fitting.send, (yield climb))
        except Exception as error:
            step = partial(fitting.throw, error)


def rows_for(candidate: Candidate, sequences: Sequences) -> Sequences:
    """The rows as this candidate takes them: without context if no component of it reads any."""
    if candidate.uses_context or sequences.covariates is None:
        return sequences
    return replace(sequences, covariates=None)
