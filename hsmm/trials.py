"""From nemos' X, y and session_starts to packed series, and back to one row for each row given."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from hsmm.sequences import Sequences, as_numpy, refuse_infinite

_NUMBERED = (
    "session_starts repeats its numbers, as the ids of each row's session do; expected the first row of each session: "
    "booleans, or indices such as numpy.flatnonzero(numpy.diff(ids, prepend=ids[0] - 1))."
)

Columns = tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Trials:
    """Packed sessions.

    ``kept`` (T,) says which rows they are made of; ``template`` is the input whose kind answers take.
    """

    sequences: Sequences
    kept: np.ndarray
    template: Any = None

    def expanded(self, rows: np.ndarray) -> np.ndarray:
        """One row for each row given, NaN for those left out."""
        if self.kept.all():
            return rows
        made = np.full((len(self.kept), *rows.shape[1:]), np.nan)
        made[self.kept] = rows
        return made

    def answered(self, rows: np.ndarray, names: list[str] | str = "") -> Any:
        """:meth:`expanded`, as a pynapple object where the input was one, its columns by these ``names``."""
        made = self.expanded(rows)
        if self.template is None:
            return made
        import pynapple as nap

        support = {"t": self.template.t, "d": made, "time_support": self.template.time_support}
        if made.ndim == 1:
            return nap.Tsd(**support)
        return nap.TsdFrame(**support, columns=names)


def columns_of(X: Any) -> Columns | None:
    """Names and widths of a dictionary of designs, in the order of their names; None for a plain one."""
    if not _is_dict(X):
        return None
    return tuple((name, _matrix(X[name], f"X[{name!r}]").shape[1]) for name in sorted(X.keys()))


def design(X: Any, columns: Columns | None) -> np.ndarray:
    """(T, F) the covariates of every row. Raises where they are not those of ``columns``."""
    if _is_dict(X) != (columns is not None):
        raise TypeError(f"X is a {type(X).__name__}; expected {'a dict' if columns else 'an array'}, as in fit.")
    if columns is None:
        return _matrix(X, "X")
    found = columns_of(X)
    if found != columns:
        raise ValueError(f"X has {dict(found or ())} columns by name; expected {dict(columns)}, as in fit.")
    parts = [_matrix(X[name], f"X[{name!r}]") for name, _ in columns]
    if len({len(part) for part in parts}) > 1:
        raise ValueError(f"the designs have {[len(part) for part in parts]} rows; expected as many in each.")
    return np.concatenate(parts, 1)


def responses(y: Any) -> np.ndarray:
    """(T, Y)"""
    array = _numbers(y, "y")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"y has shape {array.shape}; expected (n_time_bins,) or (n_time_bins, n_responses).")
    return array[:, None] if array.ndim == 1 else array


def make_trials(
    X: Any, y: Any, session_starts: Any, *, columns: Columns | None, n_responses: int | None, strict_nan: bool
) -> Trials:
    """Sessions without the rows with NaN at their ends; ``y`` None is a table of missing responses."""
    covariates = design(X, columns)
    template = next((given for given in (y, X) if hasattr(given, "time_support")), None)
    table = np.full((len(covariates), n_responses or 1), np.nan) if y is None else responses(y)
    if len(table) != len(covariates):
        raise ValueError(f"X has {len(covariates)} rows, but y has {len(table)}; expected as many.")
    if n_responses is not None and table.shape[1] != n_responses:
        raise ValueError(f"y has {table.shape[1]} columns; the model was fitted on {n_responses}.")
    refuse_infinite(torch.from_numpy(covariates), "X")
    starts = session_marks(session_starts, len(covariates), template)
    holes = np.isnan(covariates).any(1)
    gone = holes if y is None else holes | (np.isnan(table).any(1) if strict_nan else np.isnan(table).all(1))
    kept, lengths = _trimmed(starts, gone)
    _refuse_inside("X", kept & holes, "fill it in, or cut the session there")
    if strict_nan and y is not None:
        _refuse_inside("y", kept & np.isnan(table).any(1), "leave it out, or use strict_nan=False")
    if y is None:
        values = torch.zeros(int(kept.sum()), table.shape[1], dtype=torch.float64)
        offsets = torch.tensor([0, *np.cumsum(lengths)])
        packed = Sequences(values, values.bool(), offsets).with_covariates(covariates[kept])
    else:
        packed = Sequences.from_arrays(table[kept], lengths, covariates[kept], name="y")
    return Trials(packed, kept, template)


def session_marks(session_starts: Any, n_rows: int, template: Any = None) -> np.ndarray:
    """(T,) True where a session starts; the first row always does.

    Takes booleans (T,), indices, a list of either, 0 and 1 (T,), a pynapple interval set, or None.
    """
    marks = np.zeros(n_rows, dtype=bool)
    if session_starts is None and template is not None:
        session_starts = template.time_support
    if session_starts is not None:
        marks |= _marks(session_starts, n_rows, template)
    marks[0] = True
    return marks


def _marks(session_starts: Any, n_rows: int, template: Any) -> np.ndarray:
    if hasattr(session_starts, "start") and hasattr(session_starts, "end"):
        if template is None:
            raise TypeError("session_starts is an interval set, but neither X nor y has times; give indices instead.")
        times = np.asarray(template.t)
        session_starts = np.searchsorted(times, np.asarray(session_starts.start))
        session_starts = session_starts[session_starts < n_rows]
    found = np.asarray(session_starts)
    if found.size == 0 and found.ndim == 1:
        return np.zeros(n_rows, dtype=bool)
    if found.ndim != 1:
        raise ValueError(f"session_starts has shape {found.shape}; expected one axis.")
    if found.dtype.kind == "b" or (found.dtype.kind in "iu" and len(found) == n_rows and set(found) <= {0, 1}):
        if len(found) != n_rows:
            raise ValueError(f"session_starts has {len(found)} booleans; expected one for each of {n_rows} rows.")
        marks = found.astype(bool)
        if found.dtype.kind != "b" and 1 < marks.sum() < n_rows and marks[n_rows - marks.sum() :].all():
            raise ValueError(_NUMBERED)
        return marks
    if found.dtype.kind not in "iu":
        raise TypeError(f"session_starts has dtype {found.dtype}; expected booleans or whole numbers.")
    if len(np.unique(found)) < len(found):
        raise ValueError(_NUMBERED)
    if found.min() < 0 or found.max() >= n_rows:
        raise ValueError(f"session_starts holds {found.min()} to {found.max()}; expected indices of {n_rows} rows.")
    made = np.zeros(n_rows, dtype=bool)
    made[found] = True
    return made


def _trimmed(starts: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Which rows lie between the first and the last whole row of their session, and the lengths that leaves."""
    kept, lengths = np.zeros(len(starts), dtype=bool), []
    bounds = [*np.flatnonzero(starts), len(starts)]
    for start, stop in pairwise(bounds):
        whole = np.flatnonzero(~gone[start:stop])
        if len(whole):
            kept[start + whole[0] : start + whole[-1] + 1] = True
            lengths.append(int(whole[-1] - whole[0]) + 1)
    if not lengths:
        raise ValueError(f"all {len(starts)} rows have NaN in X or y; expected at least one without.")
    return kept, lengths


def _refuse_inside(name: str, rows: np.ndarray, remedy: str) -> None:
    if rows.any():
        raise ValueError(
            f"{name} has NaN at row {np.flatnonzero(rows)[0]}, within a session; expected it only at the ends of "
            f"sessions: {remedy}."
        )


def _is_dict(X: Any) -> bool:
    return isinstance(X, dict) or type(X).__name__ == "FeaturePytree"


def _matrix(X: Any, name: str) -> np.ndarray:
    array = _numbers(X, name)
    array = array[:, None] if array.ndim == 1 and name != "X" else array
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}; expected 2 dimensions, (n_time_bins, n_features), with at least "
            "one of each."
        )
    return array


def _numbers(value: Any, name: str) -> np.ndarray:
    array = np.asarray(as_numpy(value) if isinstance(value, torch.Tensor) else value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; expected numbers.")
    return array.astype(np.float64)
