"""One series of a model's data: states over its values, and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hsmm.models.base import Estimator
from hsmm.models.series import series_lengths
from hsmm.plot.strips import coloured_line, probability_strip
from hsmm.plot.style import as_numbers, axes_or_new, bare_edges, colour, label_dates, state_names
from hsmm.sequences import Sequences
from hsmm.spelling import nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def states(
    model: Estimator,
    X: Any,
    lengths: Any = None,
    *,
    context: Any = None,
    groups: Any = None,
    series: int = 0,
    feature: int | str = 0,
    times: Any = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A feature of one series in the colours of its most probable states (Viterbi, in hindsight).

    ``series`` counts from 0; ``feature`` is a column or its name; ``times`` (n_samples,) are numbers or dates for the
    axis, by default the index of X, or rows of the series.
    """
    part = _part(X, lengths, groups, series, times)
    column = column_of(model, feature)
    ax = axes_or_new(ax)
    path = np.asarray(model.predict(X, lengths, context=context, groups=groups))[part.rows]
    values = part.sequences.values[part.rows, column].masked_fill(~part.sequences.observed[part.rows, column], np.nan)
    coloured_line(ax, part.place, values.numpy(), path)
    ax.set_ylabel(model.feature_labels[column])
    _finish(ax, part, state_names(names, model.n_states), shown=np.unique(path).tolist())
    return ax


def posteriors(
    model: Estimator,
    X: Any,
    lengths: Any = None,
    *,
    context: Any = None,
    groups: Any = None,
    causal: bool = False,
    series: int = 0,
    times: Any = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How probable each state is along one series, given all of it; with ``causal``, given what came up to then.

    ``series`` and ``times`` are as in :func:`states`.
    """
    part = _part(X, lengths, groups, series, times)
    ax = axes_or_new(ax, height=1.8)
    if causal:
        found = model.filter_proba(X, series_lengths(lengths, groups, X), context=context)
    else:
        found = model.predict_proba(X, lengths, context=context, groups=groups)
    probability_strip(ax, part.place, np.asarray(found)[part.rows])
    _finish(ax, part, state_names(names, model.n_states), shown=list(range(model.n_states)))
    return ax


@dataclass(frozen=True, eq=False)
class _Part:
    """The ``rows`` of one series, and the ``place`` of each on an axis."""

    sequences: Sequences
    rows: slice
    place: np.ndarray
    has_dates: bool


def _part(X: Any, lengths: Any, groups: Any, series: int, times: Any) -> _Part:
    sequences = Sequences.from_arrays(X, series_lengths(lengths, groups, X))
    if not 0 <= series < sequences.n_series:
        raise ValueError(f"series is {series}; expected 0 to {sequences.n_series - 1}.")
    start, stop = sequences.offsets[series : series + 2].tolist()
    rows = slice(start, stop)
    if times is None and type(X).__module__.partition(".")[0] == "pandas":
        times = X.index if np.asarray(X.index).dtype.kind in "Mif" else None
    if times is None:
        return _Part(sequences, rows, np.arange(stop - start, dtype=np.float64), has_dates=False)
    if len(times) != sequences.n_rows:
        raise ValueError(f"times has {len(times)} entries; expected one for each of {sequences.n_rows} rows.")
    found = np.asarray(times)
    return _Part(sequences, rows, as_numbers(found[rows]), has_dates=found.dtype.kind == "M")


def column_of(model: Estimator, feature: int | str) -> int:
    """The column of a feature, by number or name. Raises ``ValueError`` for one that there is not."""
    labels = model.feature_labels
    if isinstance(feature, str):
        if feature not in labels:
            raise ValueError(
                f"feature is {feature!r}; expected one of {', '.join(labels)}, or a number{nearest(feature, labels)}"
            )
        return labels.index(feature)
    if not 0 <= feature < len(labels):
        raise ValueError(f"feature is {feature}; expected 0 to {len(labels) - 1}, or one of {', '.join(labels)}.")
    return feature


def _finish(ax: Axes, part: _Part, names: list[str], shown: list[int]) -> None:
    from matplotlib.patches import Patch

    if part.has_dates:
        label_dates(ax)
    elif not ax.get_xlabel():
        ax.set_xlabel("row")
    handles = [Patch(color=colour(k), label=names[k]) for k in shown]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    bare_edges(ax)
