"""A model for each of many unrelated units, fitted side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from hsmm.selection.candidate import Candidate
from hsmm.selection.ranking import Rule
from hsmm.selection.rows import rows_of_x
from hsmm.selection.search import Selection, Weighing, check_weighing, selecting
from hsmm.selection.splits import Splitter
from hsmm.training.together import together

AT_ONCE = 512
"""Units that are fitted side by side: enough that what their fits share costs each of them little."""


@dataclass(frozen=True, eq=False)
class UnitSelection:
    """What was chosen for each unit.

    - ``table``: one row a unit and candidate, each unit's chosen one (``rank`` 0) first; columns as those of
      :class:`Selection`, with ``unit`` before them. Only the chosen ones were tested for what may be wrong with them.
    - ``models``: by unit, the chosen candidate, fitted
    - ``failed``: by unit that no candidate could be fitted to, why
    """

    table: pl.DataFrame
    models: dict[Any, Any]
    failed: dict[Any, str]

    def parameters(self) -> dict[str, dict[Any, np.ndarray]]:
        """Every learnt parameter "table.name" of every unit's chosen model, by unit."""
        found: dict[str, dict[Any, np.ndarray]] = {}
        for unit, model in self.models.items():
            for kind, part in model._fitted_model().components().items():
                for name, value in part.parameters.items():
                    found.setdefault(f"{kind}.{name}", {})[unit] = value[0].numpy()
        return found


def select_units(
    X: Any,
    candidates: Sequence[Candidate],
    units: Any,
    *,
    context: Any = None,
    criterion: str = "bic",
    splits: Splitter | None = None,
    rule: Rule = "best",
    at_once: int = AT_ONCE,
    progress: Callable[[int, int, str], None] | None = None,
) -> UnitSelection:
    """:func:`select_model` for each unit by itself: ``units`` (n_samples,) name that of each row of X.

    A unit's rows stand together and are one series. Climbs of one structure are made as one, ``at_once`` units side by
    side, which bounds the memory. A unit's numbers have the same bits as if it was given alone, whatever becomes of
    the others; one that no candidate can be fitted to is named in ``failed``.

    ``progress`` is called with (units done, units, "units"). Raises ``ValueError`` for data and options that are wrong
    for every unit.
    """
    names = np.asarray(units)
    packed = rows_of_x(X, candidates, _lengths(names, np.shape(X)[0]), context, None)
    check_weighing(candidates, criterion, rule, splits, packed)
    if at_once < 1:
        raise ValueError(f"at_once is {at_once}; expected 1 or more units.")
    starts = packed.offsets[:-1].tolist()
    labels = names[starts].tolist()
    how = Weighing(criterion, splits, rule, doubts="chosen")
    tables, models, failed = list[pl.DataFrame](), dict[Any, Any](), dict[Any, str]()
    for first in range(0, len(labels), at_once):
        places = range(first, min(first + at_once, len(labels)))
        if progress is not None:
            progress(first, len(labels), "units")
        found = together([selecting(packed.series([place]), candidates, how) for place in places])
        for place, selection in zip(places, found, strict=True):
            if isinstance(selection, Selection):
                tables.append(_named(selection.table, labels[place]))
                models[labels[place]] = selection.best
            else:
                failed[labels[place]] = str(selection)
    if progress is not None:
        progress(len(labels), len(labels), "units")
    table = pl.concat(tables, how="diagonal_relaxed") if tables else pl.DataFrame()
    return UnitSelection(table, models, failed)


def _named(table: pl.DataFrame, unit: Any) -> pl.DataFrame:
    return table.with_row_index("rank").select(pl.lit(unit).alias("unit"), pl.all())


def _lengths(names: np.ndarray, n_rows: int) -> np.ndarray:
    """Rows of each unit. Raises ``ValueError`` where a name comes back after another."""
    if names.shape != (n_rows,):
        raise ValueError(f"units have shape {names.shape}, but X has {n_rows} rows; give one name for each row.")
    begins = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    first = names[begins]
    if len(np.unique(first)) < len(first):
        seen = [name for name, other in pairwise(sorted(first.tolist())) if name == other]
        raise ValueError(f"the rows of unit {seen[0]!r} do not stand together; sort X by unit, then by time.")
    return np.diff(np.append(begins, n_rows))
