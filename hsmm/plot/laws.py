"""The laws of a fitted model: how long states last, and where they lead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hsmm.models.base import Estimator
from hsmm.models.series import series_lengths
from hsmm.plot.runs import Runs, model_survival, observed_survival, runs
from hsmm.plot.style import MUTED, axes_or_new, bare_edges, colour, state_names
from hsmm.sequences import Sequences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST_SHARE = 0.005
_LONGEST = 400


def dwell(
    model: Estimator,
    X: Any = None,
    lengths: Any = None,
    *,
    context: Any = None,
    groups: Any = None,
    states: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """P(a segment lasts at least n steps) under the model, and where X is given the share of its decoded runs.

    Runs that their series cuts short count with what is seen of them (Kaplan-Meier). ``states`` are those drawn, by
    default all.
    """
    labels, ax = state_names(names, model.n_states), axes_or_new(ax, 6.5, 3.6)
    survival = model_survival(model, _LONGEST)
    found: Runs | None = None
    if X is not None:
        sizes = series_lengths(lengths, groups, X)
        packed = Sequences.from_arrays(X, sizes)
        series = np.repeat(np.arange(packed.n_series), packed.lengths.numpy())
        found = runs(np.asarray(model.predict(X, sizes, context=context)), series)
    last = 5
    for state in range(model.n_states) if states is None else states:
        own = None if found is None else found.of(state)
        dwell_curve(ax, survival[state], own, colour(state), labels[state])
        last = max(last, int(np.flatnonzero(survival[state] > SMALLEST_SHARE).max(initial=0)) + 1)
    ax.set_xlim(0.5, last + 0.5)
    ax.set_ylim(0.0, 1.05)
    ax.set_xlabel("n (steps)")
    ax.set_ylabel("P(duration ≥ n)")
    ax.legend(frameon=False)
    bare_edges(ax)
    return ax


def dwell_curve(ax: Axes, survival: np.ndarray, found: Runs | None, tint: str, name: str) -> None:
    """One state's law as a line, its runs as steps."""
    steps = np.arange(1, len(survival) + 1)
    ax.plot(steps, survival, color=tint, linewidth=2.0, label=name)
    if found is not None and len(found.length):
        observed = observed_survival(found, len(steps))
        ax.step(steps, observed, where="mid", color=tint, linewidth=1.1, alpha=0.8, linestyle=":")


def transitions(model: Estimator, *, names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """The next state's probabilities as a map, a row for each state."""
    side = 1.6 + 0.75 * model.n_states
    ax = axes_or_new(ax, side + 0.6, side)
    heat_map(ax, model.transition_prob_, state_names(names, model.n_states))
    return ax


def heat_map(ax: Axes, matrix: np.ndarray, names: Sequence[str]) -> None:
    """Probabilities (n_states, n_states), written into their cells; a state that cannot follow itself has none."""
    ax.imshow(matrix, vmin=0, vmax=1, cmap="Blues", aspect="equal")
    for (row, column), probability in np.ndenumerate(matrix):
        text = "" if row == column and probability == 0 else f"{probability:.3f}"
        tint = "white" if probability > 0.55 else "black"
        ax.text(column, row, text, ha="center", va="center", color=tint)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("next state")
    ax.set_ylabel("state")
    ax.tick_params(length=0, colors=MUTED)
