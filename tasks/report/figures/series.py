"""Series coloured by state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.report.figures.style import colour, headline, new_figure, state_legend

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
        (n,) numpy datetimes, UTC.
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


def series_rows(frame: pl.DataFrame, value_columns: list[str], n_states: int) -> list[SeriesRows]:
    """The series of ``frame``, the state table with features beside it, in its order."""
    return [
        SeriesRows(
            name=str(rows["series_id"][0]),
            time=rows["time"].dt.replace_time_zone(None).to_numpy(),
            values={name: rows[name].cast(float).fill_null(np.nan).to_numpy() for name in value_columns},
            path=rows["viterbi"].fill_null(-1).to_numpy().astype(np.int64),
            filtered=_probabilities(rows["p_filtered"], n_states),
        )
        for rows in frame.partition_by("series_id", maintain_order=True)
    ]


def _probabilities(column: pl.Series, n_states: int) -> np.ndarray:
    unknown = [np.nan] * n_states
    return np.array([unknown if row is None else row for row in column.to_list()], dtype=float)


def overview(series: list[SeriesRows], names: list[str], title: str) -> Figure:
    """All series under each other on one time axis, by their first feature."""
    figure = new_figure(11, 1.2 + 1.9 * len(series))
    axes = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for axis, rows in zip(axes, series, strict=True):
        feature, values = next(iter(rows.values.items()))
        _coloured_line(axis, rows, values)
        axis.set_title(rows.name)
        axis.set_ylabel(feature)
    first, last = zip(*(_span(rows) for rows in series), strict=True)
    axes[0].set_xlim(min(first), max(last))
    _date_labels(axes[-1])
    headline(figure, f"{title}: the most probable states, in hindsight".lstrip(": "))
    state_legend(figure, names)
    return figure


def portrait(rows: SeriesRows, names: list[str]) -> Figure:
    """One series: its features coloured by state, and what was known about the state at the time."""
    n_features = len(rows.values)
    figure = new_figure(11, 2.6 + 2.4 * n_features)
    axes = figure.subplots(n_features + 1, 1, sharex=True, height_ratios=[3] * n_features + [1.4])
    for axis, (feature, values) in zip(axes, rows.values.items(), strict=False):
        _coloured_line(axis, rows, values)
        axis.set_ylabel(feature)
    axes[0].set_title("Most probable path, in hindsight")
    _probability_strip(axes[-1], rows)
    _date_labels(axes[-1])
    headline(figure, rows.name)
    state_legend(figure, names)
    return figure


def _coloured_line(axis: Axes, rows: SeriesRows, values: np.ndarray) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.dates import date2num

    time = date2num(rows.time)
    corners = np.column_stack([time, values])
    steps = list(np.stack([corners[:-1], corners[1:]], axis=1))
    axis.add_collection(LineCollection(steps, colors=[colour(k) for k in rows.path[1:]], linewidths=0.8))
    _bands(axis, rows.path, time)
    axis.set_xlim(*_span(rows))
    axis.set_ylim(*_limits(values))


def _bands(axis: Axes, path: np.ndarray, time: np.ndarray) -> None:
    edges = np.append(time, time[-1] + _step(time))
    starts = np.flatnonzero(np.append(True, path[1:] != path[:-1]))
    ends = np.append(starts[1:], len(path))
    spans = np.column_stack([edges[starts], edges[ends] - edges[starts]])
    full_height = axis.get_xaxis_transform()
    for state in np.unique(path[path >= 0]):
        bars = [tuple(span) for span in spans[path[starts] == state]]
        look: dict[str, Any] = {"facecolors": colour(int(state)), "alpha": 0.22, "linewidth": 0, "zorder": 0}
        axis.broken_barh(bars, (0, 1), transform=full_height, **look)


def _probability_strip(axis: Axes, rows: SeriesRows) -> None:
    from matplotlib.dates import date2num

    heights = np.nan_to_num(rows.filtered).T
    colours = [colour(state) for state in range(len(heights))]
    axis.stackplot(date2num(rows.time), heights, colors=colours, linewidth=0, step="post")
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1])
    axis.set_ylabel("probability")
    axis.set_title("What was known at the time: p(state | data up to then)")


def _span(rows: SeriesRows) -> tuple[float, float]:
    from matplotlib.dates import date2num

    time = date2num(rows.time)
    return float(time[0]), float(time[-1]) + _step(time)


def _step(time: np.ndarray) -> float:
    return float(np.median(np.diff(time))) if len(time) > 1 else 1.0


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _date_labels(axis: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
