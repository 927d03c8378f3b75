"""The page's sections on the states of one model, as the template prints them, and their plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hsmm.models.predictive import ENOUGH
from hsmm.plot.runs import Runs, observed_survival
from hsmm.spelling import counted
from tasks.fitting.lasting import seen_stays
from tasks.report.page.data import PageData
from tasks.report.page.plots import Figure, hazard_plot, survival_plot
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
    values_a_year,
)
from tasks.report.page.series import MOST_FEATURES
from tasks.report.page.spread import spreads
from tasks.report.page.text import NOTHING, count, number, share, short, steps

MOST_STATES = 12
HAZARD_STEPS = (1, 5, 20)


def states(data: PageData) -> dict[str, Any]:
    """A line of profile for every state, and the plots of how long they last and where they lead."""
    found, curves, rows = decoded_runs(data.modelled), _curves(data), observed_moments(data)
    moments = _features(data, rows)
    known, shown = dict(list(moments.items())[:MOST_FEATURES]), own_states(data)
    common, per_year = shares(data.modelled, data.n_states), values_a_year(data)
    yearly = {name: moments[name] for name in data.returns if name in moments and np.isfinite(per_year)}
    return {
        "profile": [
            _profile(data, state, found.of(state), (known, rows), curves, float(common[state]))
            | {"yearly": [_yearly(law, state, per_year) for law in yearly.values()]}
            for state in shown
        ],
        "features": [(short(name), short(data.units.get(name, "own units"))) for name in known],
        "n_features_left": len(moments) - len(known),
        "from_model": _has_moments(data),
        "ranged": any(law.varies for law in moments.values()),
        "yearly": [short(name) for name in yearly],
        "per_year": number(per_year, 4),
        "freedom": curves.freedom is not None,
        "hazard_steps": HAZARD_STEPS,
        "spreads": spreads(data, shown),
        "dwells": [
            (f"dwell-{state}", state, short(data.state_names[state]), counted(len(found.of(state).length), "run"))
            for state in shown[:MOST_STATES]
        ],
        "n_states": len(shown),
        "unit": "" if data.model is None else short(data.model.unit),
        "has_law": data.model is not None,
        "has_stays": curves.stays is not None and bool(np.nanmin(curves.stays) < ENOUGH),
        "enough": number(ENOUGH),
        "moves": _moves(data),
        "figures": _figures(data, shown, found, curves),
    }


def own_states(data: PageData) -> list[int]:
    """The persistent ids that the model bears or its rows speak of; all of the table where no model could be read."""
    if data.model is None:
        return list(range(data.n_states))
    seen = data.modelled["viterbi"].drop_nulls().unique().to_list()
    named = () if data.model.unit or data.model.without else range(data.n_states)
    return sorted({*data.model.state_ids, *named, *(state for state in seen if state >= 0)})


@dataclass(frozen=True)
class Curves:
    """What the model says of every persistent state: NaN where it has no such state, and without a model."""

    survival: np.ndarray
    hazard: np.ndarray
    mean_duration: np.ndarray
    freedom: np.ndarray | None
    stays: np.ndarray | None


def _curves(data: PageData) -> Curves:
    if data.model is None:
        nothing = np.full((data.n_states, LONGEST), np.nan)
        return Curves(nothing, nothing, nothing[:, 0], None, None)
    alive, freedom, stays = survival(data.model), degrees_of_freedom(data.model), seen_stays(data.model.estimator)
    return Curves(
        survival=data.model.placed(alive, data.n_states),
        hazard=data.model.placed(hazard(alive), data.n_states),
        mean_duration=data.model.placed(mean_durations(data.model), data.n_states),
        freedom=None if freedom is None else data.model.placed(freedom, data.n_states),
        stays=None if stays is None else data.model.placed(stays, data.n_states),
    )


def _has_moments(data: PageData) -> bool:
    return data.model is not None and bool(laws(data.model))


def _features(data: PageData, rows: dict[str, Law]) -> dict[str, Law]:
    """The model's moments, and where it has none those of the ``rows``."""
    found = dict(rows)
    if (model := data.model) is not None:
        for name, law in laws(model).items():
            found[name] = Law(*(model.placed(value, data.n_states) for value in vars(law).values()))
    return found


def _profile(
    data: PageData, state: int, own: Runs, laws: tuple[dict[str, Law], dict[str, Law]], curves: Curves, common: float
) -> dict[str, Any]:
    known, rows = laws
    died = data.names.filter((pl.col("state") == state) & pl.col("died").is_not_null())["died"]
    return {
        "state": state,
        "name": short(data.state_names[state]),
        "features": [_moments(law, rows.get(name, law), state) for name, law in known.items()],
        "freedom": NOTHING if curves.freedom is None else number(float(curves.freedom[state])),
        "share": share(common),
        "width": round(100 * common, 1),
        "expected": steps(float(curves.mean_duration[state])),
        "stays": NOTHING if curves.stays is None else number(float(curves.stays[state]), 3),
        "n_runs": count(len(own.length)),
        "median_run": steps(float(np.median(own.length))) if len(own.length) else NOTHING,
        "hazards": [share(float(curves.hazard[state, step - 1])) for step in HAZARD_STEPS],
        "died": "" if died.is_empty() else data.when(died[-1]),
    }


def _moments(law: Law, rows: Law, state: int) -> dict[str, str]:
    """Of the law, and where that is the model's, of the decoded ``rows``."""
    found = {"mean": number(float(law.mean[state])), "deviation": number(float(law.deviation[state])), "observed": ""}
    if law is not rows and np.isfinite(rows.mean[state]):
        found["observed"] = f"{number(float(rows.mean[state]))} ± {number(float(rows.deviation[state]))}"
    ends = (law.mean_range[state], law.deviation_range[state])
    means, deviations = (f"{number(float(low))} … {number(float(high))}" for low, high in ends)
    return {**found, "means": means if law.varies else "", "deviations": deviations if law.varies else ""}


def _yearly(law: Law, state: int, per_year: float) -> dict[str, str]:
    """Mean and volatility of a year's return, if the state went on and its values were independent."""
    mean, deviation = float(law.mean[state]) * per_year, float(law.deviation[state]) * np.sqrt(per_year)
    return {"mean": f"{number(100 * mean)} %", "volatility": f"{number(100 * deviation)} %"}


def _moves(data: PageData) -> dict[str, Any] | None:
    """P(next state | state) as rows of cells, by persistent id; a state that cannot follow itself has none there."""
    if data.model is None:
        return None
    ids, matrix = np.array(data.model.state_ids), np.asarray(data.model.estimator.transition_prob_)
    order = np.argsort(ids)
    heads = [(int(state), short(data.state_names[state])) for state in ids[order]]
    rows = []
    for place, head in zip(order, heads, strict=True):
        cells = [
            {"p": round(float(p), 3), "text": NOTHING if other == place and p == 0 else share(float(p))}
            for other, p in zip(order, matrix[place, order], strict=True)
        ]
        rows.append((*head, cells))
    return {"heads": heads, "rows": rows}


def _figures(data: PageData, shown: list[int], found: Runs, curves: Curves) -> dict[str, Figure]:
    figures = {}
    for state in shown[:MOST_STATES]:
        own, law = found.of(state), curves.survival[state]
        n_steps = shown_steps(observed_survival(own, LONGEST), law)
        figures[f"dwell-{state}"] = survival_plot(own, law, n_steps, state, data.steps)
    if data.model is not None:
        figures["hazard"] = hazard_plot(curves.hazard, shown_steps(*curves.survival), data.state_names, data.steps)
    return figures
