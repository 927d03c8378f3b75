"""A series along time: its line in the colours of its states, and how probable each state was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hsmm.plot.style import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def coloured_line(ax: Axes, place: np.ndarray, values: np.ndarray, path: np.ndarray) -> None:
    """``values`` (n,) over ``place`` (n,), in the colours of ``path`` (n,); -1 is no state."""
    from matplotlib.collections import LineCollection

    corners = np.column_stack([place, values])
    steps = list(np.stack([corners[:-1], corners[1:]], axis=1))
    ax.add_collection(LineCollection(steps, colors=[colour(k) for k in path[1:]], linewidths=0.8))
    _bands(ax, place, path)
    ax.set_xlim(*span(place))
    ax.set_ylim(*_limits(values))


def probability_strip(ax: Axes, place: np.ndarray, probability: np.ndarray) -> None:
    """``probability`` (n, n_states) stacked over ``place`` (n,)."""
    heights = np.nan_to_num(probability).T
    ax.stackplot(place, heights, colors=[colour(k) for k in range(len(heights))], linewidth=0, step="post")
    ax.set_xlim(*span(place))
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.5, 1])
    ax.set_ylabel("probability")


def span(place: np.ndarray) -> tuple[float, float]:
    """From the first place to one step beyond the last."""
    return float(place[0]), float(place[-1]) + _step(place)


def _bands(ax: Axes, place: np.ndarray, path: np.ndarray) -> None:
    edges = np.append(place, place[-1] + _step(place))
    starts = np.flatnonzero(np.append(True, path[1:] != path[:-1]))
    ends = np.append(starts[1:], len(path))
    spans = np.column_stack([edges[starts], edges[ends] - edges[starts]])
    full_height = ax.get_xaxis_transform()
    for state in np.unique(path[path >= 0]):
        bars = [tuple(bar) for bar in spans[path[starts] == state]]
        look: dict[str, Any] = {"facecolors": colour(int(state)), "alpha": 0.22, "linewidth": 0, "zorder": 0}
        ax.broken_barh(bars, (0, 1), transform=full_height, **look)


def _step(place: np.ndarray) -> float:
    return float(np.median(np.diff(place))) if len(place) > 1 else 1.0


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin
