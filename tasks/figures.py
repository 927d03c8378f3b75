"""One drawing per idea, each a function from tables to a matplotlib figure.

matplotlib is imported where it is used, so that importing the tasks stays quick, and pyplot is not used at all:
no window, no current figure.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.dwell import Runs, observed_survival, runs

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A5195", "#8C8C8C")
"""After Okabe and Ito: told apart with any colour vision."""

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "legend.frameon": False,
}
MUTED = "#555555"
BAND_ALPHA = 0.22


@dataclass(frozen=True)
class SeriesRows:
    """The rows of one series, as arrays.

    Attributes
    ----------
    name
        Its id.
    time
        (n,) numpy datetimes.
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
    """The series of ``frame`` (the state table with features beside it), in its order."""
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
    """All series under each other on one time axis, coloured by state."""
    figure = _figure(11, 1.2 + 1.9 * len(series))
    axes = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for axis, rows in zip(axes, series, strict=True):
        feature, values = next(iter(rows.values.items()))
        _coloured_line(axis, rows, values)
        axis.set_title(rows.name)
        axis.set_ylabel(feature)
    _time_axis(axes[-1])
    _legend(figure, names, f"{title}: the most probable states, in hindsight")
    return figure


def series_picture(rows: SeriesRows, names: list[str]) -> Figure:
    """One series: its features coloured by state, and what was known about the state at the time."""
    n_features = len(rows.values)
    figure = _figure(11, 2.6 + 2.4 * n_features)
    axes = figure.subplots(n_features + 1, 1, sharex=True, height_ratios=[3] * n_features + [1.4])
    for axis, (feature, values) in zip(axes, rows.values.items(), strict=False):
        _coloured_line(axis, rows, values)
        axis.set_ylabel(feature)
    axes[0].set_title("Most probable path, in hindsight")
    _probability_strip(axes[-1], rows)
    _time_axis(axes[-1])
    _legend(figure, names, rows.name)
    return figure


def _coloured_line(axis: Axes, rows: SeriesRows, values: np.ndarray) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.dates import date2num

    time = date2num(rows.time)
    corners = np.column_stack([time, values])
    segments = np.stack([corners[:-1], corners[1:]], axis=1)
    colours = [colour(state) for state in rows.path[1:]]
    axis.add_collection(LineCollection(list(segments), colors=colours, linewidths=0.8, capstyle="round"))
    _bands(axis, rows.path, time)
    axis.set_xlim(time[0], time[-1] + _step(time))
    axis.set_ylim(*_limits(values))


def _bands(axis: Axes, path: np.ndarray, time: np.ndarray) -> None:
    edges = np.append(time, time[-1] + _step(time))
    starts = np.flatnonzero(np.append(True, path[1:] != path[:-1]))
    ends = np.append(starts[1:], len(path))
    for state in np.unique(path[path >= 0]):
        chosen = path[starts] == state
        spans = np.column_stack([edges[starts], edges[ends] - edges[starts]])[chosen]
        axis.broken_barh(
            [tuple(span) for span in spans], (0, 1), transform=axis.get_xaxis_transform(),
            facecolors=colour(int(state)), alpha=BAND_ALPHA, linewidth=0, zorder=0,
        )  # fmt: skip


def _probability_strip(axis: Axes, rows: SeriesRows) -> None:
    from matplotlib.dates import date2num

    heights = np.nan_to_num(rows.filtered).T
    n_states = len(heights)
    axis.stackplot(date2num(rows.time), heights, colors=[colour(state) for state in range(n_states)], linewidth=0)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.5, 1])
    axis.set_ylabel("probability")
    axis.set_title("What was known at the time: p(state | data up to then)")


def _step(time: np.ndarray) -> float:
    return float(np.median(np.diff(time))) if len(time) > 1 else 1.0


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _time_axis(axis: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def features_by_state(series: list[SeriesRows], names: list[str]) -> Figure:
    """What each state looks like: the spread of every feature in it, over all series."""
    features = list(series[0].values)
    path = np.concatenate([rows.path for rows in series])
    figure = _figure(4.6 * min(len(features), 3), 0.9 + 0.6 * len(names) + 0.6, rows_of=len(features))
    axes = figure.subplots(-(-len(features) // 3), min(len(features), 3), squeeze=False).ravel()
    for axis, feature in zip(axes, features, strict=False):
        values = np.concatenate([rows.values[feature] for rows in series])
        _boxes(axis, [values[(path == state) & np.isfinite(values)] for state in range(len(names))], names)
        axis.set_xlabel(feature)
    for axis in axes[len(features) :]:
        axis.set_visible(False)
    figure.suptitle("What each state looks like: 5, 25, 50, 75 and 95 % of its rows", x=0.01, ha="left")
    return figure


def _boxes(axis: Axes, groups: list[np.ndarray], names: list[str]) -> None:
    boxes = axis.boxplot(
        groups, orientation="horizontal", tick_labels=names, whis=(5, 95), showfliers=False,
        patch_artist=True, widths=0.6, medianprops={"color": "black", "linewidth": 1.4},
    )  # fmt: skip
    for state, box in enumerate(boxes["boxes"]):
        box.set_facecolor(colour(state))
        box.set_alpha(0.75)
    axis.invert_yaxis()
    axis.axvline(0, color=MUTED, linewidth=0.6, zorder=0)


def dwell_times(series: list[SeriesRows], survival: np.ndarray, names: list[str]) -> Figure:
    """How long states last: the model's P(duration >= n), (n_states, n), against runs of the decoded paths."""
    path = np.concatenate([rows.path for rows in series])
    series_of_row = np.repeat(np.arange(len(series)), [len(rows.path) for rows in series])
    found = runs(path, series_of_row)
    n_columns = min(len(names), 2)
    n_rows = -(-len(names) // n_columns)
    figure = _figure(5.6 * n_columns, 0.6 + 2.9 * n_rows)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for state, name in enumerate(names):
        _dwell_panel(axes[state], found.of(state), survival[state], state, name)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].legend(loc="upper right")
    figure.suptitle("How long states last: the share of segments with at least n steps", x=0.01, ha="left")
    return figure


def _dwell_panel(axis: Axes, found: Runs, survival: np.ndarray, state: int, name: str) -> None:
    steps = np.arange(1, len(survival) + 1)
    shown = max(int((survival > 0.005).sum()), 5)
    axis.step(steps, observed_survival(found, len(steps)), where="mid", color=MUTED, linewidth=1.2, label="decoded runs")
    axis.plot(steps, survival, color=colour(state), linewidth=2.2, label="model")
    axis.plot(found.length, np.full(len(found.length), -0.04), "|", color=MUTED, markersize=6, alpha=0.5, clip_on=True)
    axis.set_xlim(1, shown)
    axis.set_ylim(-0.08, 1.05)
    axis.set_title(f"{name}: {len(found.length):,} runs")
    axis.set_xlabel("n (steps)")
    axis.set_ylabel("P(duration ≥ n)")


def transitions(matrix: np.ndarray, mean_duration: np.ndarray, names: list[str]) -> Figure:
    """Where each state goes next (rows sum to 1), and how many steps it lasts on average."""
    from matplotlib.ticker import MaxNLocator

    n = len(names)
    side = 1.5 + 0.85 * n
    figure = _figure(side + 4.2, side + 0.3)
    heat, bars = figure.subplots(1, 2, width_ratios=[side, 3.2], sharey=True)
    heat.imshow(matrix, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    for row in range(n):
        for column in range(n):
            _cell(heat, matrix[row, column], row, column)
    heat.set_xticks(range(n), names, rotation=30, ha="right", rotation_mode="anchor")
    heat.set_yticks(range(n), names)
    heat.set_xlabel("next state")
    heat.set_ylabel("state")
    heat.set_title("Next state, when this one ends")
    heat.tick_params(length=0)
    for state in range(n):
        bars.barh(state, mean_duration[state], color=colour(state), height=0.55)
        bars.annotate(_steps(mean_duration[state]), (mean_duration[state], state), (4, 0), textcoords="offset points", va="center")
    bars.set_xlim(0, 1.35 * float(mean_duration[np.isfinite(mean_duration)].max(initial=1.0)))
    bars.xaxis.set_major_locator(MaxNLocator(4))
    bars.set_xlabel("steps")
    bars.set_title("Expected duration")
    bars.tick_params(left=False)
    return figure


def _cell(axis: Axes, probability: float, row: int, column: int) -> None:
    text = "–" if row == column and probability == 0 else f"{probability:.3f}"
    axis.text(column, row, text, ha="center", va="center", color="white" if probability > 0.55 else "black")


def _steps(mean: float) -> str:
    return f"{mean:.1f}" if mean < 100 else f"{mean:.0f}"


def ranking(table: pl.DataFrame, criterion: str, most: int = 20) -> Figure:
    """The candidates by ``criterion``, best on top, as distances from the best."""
    shown = table.head(most)
    scores = shown[criterion].cast(float).fill_null(np.nan).to_numpy()
    behind = np.abs(scores - scores[0])
    labels = [_candidate_label(row) for row in shown.iter_rows(named=True)]
    figure = _figure(9.5, 1.2 + 0.36 * len(labels))
    axis = figure.subplots()
    axis.barh(range(len(labels)), np.nan_to_num(behind), color=[PALETTE[0]] + ["#B8C4CE"] * (len(labels) - 1), height=0.62)
    for place, (score, distance) in enumerate(zip(scores, behind, strict=True)):
        text = "no value" if np.isnan(score) else f"{score:,.1f}" if place == 0 else f"+{distance:,.1f}"
        axis.annotate(text, (np.nan_to_num(distance), place), (4, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.15 * float(np.nanmax(behind, initial=0.0)) or 1.0)
    axis.set_xlabel(f"{criterion} behind the best")
    axis.tick_params(left=False)
    more = f" (best {most} of {table.height})" if table.height > most else ""
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.set_title(f"Candidates by {criterion}{more}; ⚠ fitted with warnings")
    return figure


def _candidate_label(row: dict[str, Any]) -> str:
    warned = " ⚠" if row.get("warnings") else ""
    parts = [f"{row['n_states']} states", row["emission"], row["duration"]]
    return " · ".join(str(part) for part in parts if part is not None) + warned


def convergence(history: np.ndarray, final: np.ndarray, best: float) -> Figure:
    """The chosen model's climb, (n_iter,), and where every restart ended, (n_restarts,)."""
    figure = _figure(10, 3.8)
    climb, ends = figure.subplots(1, 2)
    climb.plot(np.arange(1, len(history) + 1), history, color=PALETTE[0], linewidth=1.8, marker=".", markersize=4)
    climb.set_xlabel("iteration")
    climb.set_ylabel("objective")
    climb.set_title("The chosen restart")
    ordered = np.sort(final[np.isfinite(final)])[::-1]
    ends.plot(np.arange(1, len(ordered) + 1), best - ordered, "o", color=PALETTE[1], markersize=5)
    ends.set_yscale("symlog", linthresh=1e-3)
    ends.invert_yaxis()
    ends.set_xlabel("restart, best first")
    ends.set_ylabel("nats below the best")
    ends.set_title("Where the restarts ended")
    return figure


def colour(state: int) -> str:
    """The colour of a state wherever it is drawn; light grey for none."""
    return "#CCCCCC" if state < 0 else PALETTE[state % len(PALETTE)]


def _figure(width: float, height: float, rows_of: int = 1) -> Figure:
    from matplotlib.figure import Figure

    height *= -(-rows_of // 3)
    return Figure(figsize=(width, height), layout="constrained")


def _legend(figure: Figure, names: list[str], title: str) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour(state), label=textwrap.shorten(name, 24)) for state, name in enumerate(names)]
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 4))
