"""Series coloured by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hsmm.plot.strips import coloured_line, probability_strip, span
from hsmm.plot.style import as_numbers, label_dates
from tasks.report.figures.style import headline, new_figure, state_legend

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SeriesRows:
    """The rows of one series, as arrays.

    Attributes
    ----------
    name
        Its id.
    time
        (n,) numpy datetimes, UTC, or where steps are counted their numbers.
    values
        Feature name to (n,) values, NaN where missing.
    path
        (n,) the most probable path in hindsight; -1 where there is none.
    filtered
        (n, n_states) what was known at each row; NaN where nothing was.
    """

    name: str
    time: np.ndarray
    values: dict[str, np.ndarray]
    path: np.ndarray
    filtered: np.ndarray


def series_rows(
    frame: pl.DataFrame, value_columns: list[str], n_states: int, *, counted: bool = False
) -> list[SeriesRows]:
    """The series of ``frame``, the state table with features beside it, in its order."""
    return [
        SeriesRows(
            name=str(rows["series_id"][0]),
            time=(rows["time"].dt.epoch("s") if counted else rows["time"].dt.replace_time_zone(None)).to_numpy(),
            values={name: rows[name].cast(float).fill_null(np.nan).to_numpy() for name in value_columns},
            path=rows["viterbi"].fill_null(-1).to_numpy().astype(np.int64),
            filtered=_probabilities(rows["p_filtered"], n_states),
        )
        for rows in frame.partition_by("series_id", maintain_order=True)
    ]


def _probabilities(column: pl.Series, n_states: int) -> np.ndarray:
    unknown = [np.nan] * n_states
    return np.array([unknown if row is None else row for row in column.to_list()], dtype=float)


def overview(series: list[SeriesRows], names: Mapping[int, str], title: str) -> Figure:
    """All series under each other on one time axis, by their first feature."""
    figure = new_figure(11, 1.2 + 1.9 * len(series))
    axes = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for axis, rows in zip(axes, series, strict=True):
        feature, values = next(iter(rows.values.items()))
        _coloured_line(axis, rows, values)
        axis.set_title(rows.name)
        axis.set_ylabel(feature)
    first, last = zip(*(span(as_numbers(rows.time)) for rows in series), strict=True)
    axes[0].set_xlim(min(first), max(last))
    _label_time(axes[-1], series[0])
    headline(figure, f"{title}: the most probable states, in hindsight".lstrip(": "))
    state_legend(figure, names)
    return figure


def portrait(rows: SeriesRows, names: Mapping[int, str]) -> Figure:
    """One series: its features coloured by state, and what was known about the state at the time."""
    n_features = len(rows.values)
    figure = new_figure(11, 2.6 + 2.4 * n_features)
    axes = figure.subplots(n_features + 1, 1, sharex=True, height_ratios=[3] * n_features + [1.4])
    for axis, (feature, values) in zip(axes, rows.values.items(), strict=False):
        _coloured_line(axis, rows, values)
        axis.set_ylabel(feature)
    axes[0].set_title("Most probable path, in hindsight")
    _probability_strip(axes[-1], rows)
    _label_time(axes[-1], rows)
    headline(figure, rows.name)
    state_legend(figure, names)
    return figure


def _label_time(axis: Axes, rows: SeriesRows) -> None:
    if rows.time.dtype.kind == "M":
        label_dates(axis)
    else:
        axis.set_xlabel("step")


def _coloured_line(axis: Axes, rows: SeriesRows, values: np.ndarray) -> None:
    coloured_line(axis, as_numbers(rows.time), values, rows.path)


def _probability_strip(axis: Axes, rows: SeriesRows) -> None:
    probability_strip(axis, as_numbers(rows.time), rows.filtered)
    axis.set_title("What was known at the time: p(state | data up to then)")
