"""The rows that all candidates speak of: those of X, or of y beside X."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hsmm.selection.candidate import Candidate
from hsmm.sequences import Sequences
from hsmm.trials import columns_of, make_trials, responses


def rows_of_x(X: Any, candidates: Sequence[Candidate], lengths: Any, context: Any, session_starts: Any) -> Sequences:
    """X packed. Raises ``ValueError`` where candidates or arguments speak of responses, which are not given."""
    if any(candidate.regresses for candidate in candidates):
        raise ValueError("a candidate is a GLMHMM, which explains y by X; give the responses as y=.")
    if session_starts is not None:
        raise ValueError("session_starts are given without y; say where the series of X end by lengths=.")
    return Sequences.from_arrays(X, lengths, context)


def rows_of_y(
    X: Any, y: Any, candidates: Sequence[Candidate], lengths: Any, context: Any, session_starts: Any
) -> tuple[Sequences, np.ndarray]:
    """y packed beside its covariates X, and which of the rows given are among them (T,).

    A response may be missing unless a candidate forbids it by ``strict_nan``.
    """
    if context is not None:
        raise ValueError("context is given beside y, but with y the covariates are X; make it columns of X.")
    if lengths is not None:
        if session_starts is not None:
            raise ValueError("lengths and session_starts are both given; give one of them.")
        session_starts = Sequences.from_arrays(np.zeros(len(responses(y))), lengths).offsets[:-1].numpy()
    strict = any(getattr(candidate, "strict_nan", False) for candidate in candidates)
    trials = make_trials(X, y, session_starts, columns=columns_of(X), n_responses=None, strict_nan=strict)
    return trials.sequences, trials.kept
