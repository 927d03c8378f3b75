"""The page's section on states, as the template prints it, and its plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hsmm.plot.runs import Runs, observed_survival
from tasks.report.page.data import PageData
from tasks.report.page.plots import Figure, hazard_plot, spread_plot, survival_plot, transition_plot
from tasks.report.page.profile import (
    LONGEST,
    Law,
    decoded_runs,
    degrees_of_freedom,
    hazard,
    laws,
    mean_durations,
    observed_moments,
    shares,
    shown_steps,
    survival,
)
from tasks.report.page.series import MOST_FEATURES
from tasks.report.page.text import NOTHING, count, moment, number, share, short

MOST_STATES = 12
HAZARD_STEPS = (1, 5, 20)


def states(data: PageData) -> dict[str, Any]:
    """A line of profile for every state, and the plots of how long they last and where they lead."""
    found, curves, moments = decoded_runs(data.modelled), _curves(data), _features(data)
    known = dict(list(moments.items())[:MOST_FEATURES])
    drawn = list(data.units)[:MOST_FEATURES]
    return {
        "profile": [_profile(data, state, found.of(state), known, curves) for state in range(data.n_states)],
        "features": [(short(name), short(data.units.get(name, "own units"))) for name in known],
        "n_features_left": len(moments) - len(known),
        "from_model": _has_moments(data),
        "ranged": any(law.varies for law in moments.values()),
        "freedom": curves.freedom is not None,
        "hazard_steps": HAZARD_STEPS,
        "spreads": [(f"spread-{place}", short(feature)) for place, feature in enumerate(drawn)],
        "dwells": [
            (f"dwell-{state}", state, short(name), count(len(found.of(state).length)))
            for state, name in enumerate(data.state_names[:MOST_STATES])
        ],
        "n_states": data.n_states,
        "series": "" if data.model is None else short(data.model.series),
        "has_law": data.model is not None,
        "figures": _figures(data, found, curves),
    }


@dataclass(frozen=True)
class Curves:
    """What the model says of every persistent state: NaN where it has no such state, and without a model."""

    survival: np.ndarray
    hazard: np.ndarray
    mean_duration: np.ndarray
    freedom: np.ndarray | None


def _curves(data: PageData) -> Curves:
    if data.model is None:
        nothing = np.full((data.n_states, LONGEST), np.nan)
        return Curves(nothing, nothing, nothing[:, 0], None)
    alive, freedom = survival(data.model), degrees_of_freedom(data.model)
    return Curves(
        survival=data.model.placed(alive, data.n_states),
        hazard=data.model.placed(hazard(alive), data.n_states),
        mean_duration=data.model.placed(mean_durations(data.model), data.n_states),
        freedom=None if freedom is None else data.model.placed(freedom, data.n_states),
    )


def _has_moments(data: PageData) -> bool:
    return data.model is not None and bool(laws(data.model))


def _features(data: PageData) -> dict[str, Law]:
    """The model's moments, and where it has none those of the rows."""
    found = observed_moments(data)
    if (model := data.model) is not None:
        for name, law in laws(model).items():
            found[name] = Law(*(model.placed(value, data.n_states) for value in vars(law).values()))
    return found


def _profile(data: PageData, state: int, own: Runs, known: dict[str, Law], curves: Curves) -> dict[str, Any]:
    common = float(shares(data.modelled, data.n_states)[state])
    died = data.names.filter((pl.col("state") == state) & pl.col("died").is_not_null())["died"]
    return {
        "state": state,
        "name": short(data.state_names[state]),
        "features": [_moments(law, state) for law in known.values()],
        "freedom": NOTHING if curves.freedom is None else number(float(curves.freedom[state])),
        "share": share(common),
        "width": round(100 * common, 1),
        "expected": number(float(curves.mean_duration[state])),
        "n_runs": count(len(own.length)),
        "median_run": number(float(np.median(own.length))) if len(own.length) else NOTHING,
        "hazards": [share(float(curves.hazard[state, step - 1])) for step in HAZARD_STEPS],
        "died": "" if died.is_empty() else moment(died[-1]),
    }


def _moments(law: Law, state: int) -> dict[str, str]:
    found = {"mean": number(float(law.mean[state])), "deviation": number(float(law.deviation[state]))}
    ends = (law.mean_range[state], law.deviation_range[state])
    means, deviations = (f"{number(float(low))} … {number(float(high))}" for low, high in ends)
    return {**found, "means": means if law.varies else "", "deviations": deviations if law.varies else ""}


def _figures(data: PageData, found: Runs, curves: Curves) -> dict[str, Figure]:
    names, figures = data.state_names, {}
    for state in range(min(len(names), MOST_STATES)):
        own, law = found.of(state), curves.survival[state]
        n_steps = shown_steps(observed_survival(own, LONGEST), law)
        figures[f"dwell-{state}"] = survival_plot(own, law, n_steps, state, data.steps)
    if data.model is not None:
        figures["hazard"] = hazard_plot(curves.hazard, shown_steps(*curves.survival), names, data.steps)
        moves = data.model.placed(np.asarray(data.model.estimator.transition_prob_), data.n_states)
        figures["transitions"] = transition_plot(data.model.placed(moves.T, data.n_states).T, names)
    for place, (feature, unit) in enumerate(list(data.units.items())[:MOST_FEATURES]):
        figures[f"spread-{place}"] = spread_plot(data.modelled, feature, unit, names)
    return figures
