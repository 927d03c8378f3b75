"""What each state is like: its emission in the features' own units, how common it is, how long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hsmm.plot.runs import Runs, model_survival, runs
from tasks.report.page.data import ChosenModel, PageData

LONGEST = 1000
_SHORTEST = 20
_SECONDS_A_YEAR = 365.2425 * 86_400
_NEGLIGIBLE = 0.005


@dataclass(frozen=True)
class Law:
    """One feature's mean and standard deviation in every state, in its own units.

    ``mean``, ``deviation`` (n_states,) are those of the median series; the rows of ``mean_range`` and
    ``deviation_range`` (n_states, 2) span all series, which differ where each was scaled by its own spread.
    """

    mean: np.ndarray
    deviation: np.ndarray
    mean_range: np.ndarray
    deviation_range: np.ndarray

    @property
    def varies(self) -> bool:
        """Whether series differ."""
        low, high = self.deviation_range.T
        return bool((high > (1.0 + 1e-9) * low).any())


def laws(model: ChosenModel) -> dict[str, Law]:
    """Feature to its law; without those of which the emission knows no mean."""
    moments = model.estimator.emission_.moments()
    columns = model.scaling.columns
    if moments is None or moments[0].shape[-1] != len(columns):
        return {}
    mean, deviation = (x[0].numpy() for x in moments)
    statistics = model.scaling.statistics
    return {
        name: _in_own_units(mean[:, i], deviation[:, i], statistics[f"mean:{name}"], statistics[f"scale:{name}"])
        for i, name in enumerate(columns)
        if not np.isnan(mean[:, i]).all()
    }


def _in_own_units(mean: np.ndarray, deviation: np.ndarray, offset: pl.Series, spread: pl.Series) -> Law:
    means = mean[:, None] * spread.to_numpy() + offset.to_numpy()
    deviations = deviation[:, None] * spread.to_numpy()
    ranges = [np.column_stack([values.min(axis=1), values.max(axis=1)]) for values in (means, deviations)]
    return Law(np.median(means, axis=1), np.median(deviations, axis=1), *ranges)


def observed_moments(data: PageData) -> dict[str, Law]:
    """As :func:`laws`, but mean and standard deviation of the rows that each state holds in the decoded path."""
    found = {}
    for name in data.units:
        by_state = [
            data.modelled.filter(pl.col("viterbi") == state)[name].drop_nulls() for state in range(data.n_states)
        ]
        mean = np.array([_float(values.mean()) for values in by_state])
        scale = np.array([_float(values.std(ddof=0)) for values in by_state])
        found[name] = Law(mean, scale, np.column_stack([mean, mean]), np.column_stack([scale, scale]))
    return found


def values_a_year(data: PageData) -> float:
    """How many values a series has in a year, that of the median series; NaN without a calendar or a year of rows."""
    if not data.has_calendar or not data.returns:
        return float("nan")
    known = data.modelled.filter(pl.all_horizontal(pl.col(list(data.returns)).is_not_null()))
    span = (pl.col("time").max() - pl.col("time").min()).dt.total_seconds() / _SECONDS_A_YEAR
    counted = known.group_by("series_id").agg(span.alias("years"), pl.len().alias("n")).filter(pl.col("years") >= 1.0)
    return _float(counted.select(((pl.col("n") - 1) / pl.col("years")).median()).item())


def degrees_of_freedom(model: ChosenModel) -> np.ndarray | None:
    """(n_states,) of a Student-t emission."""
    parameters = getattr(model.estimator.emission_, "parameters", {})
    if "dof" not in parameters:
        return None
    found = np.asarray(parameters["dof"][0]).reshape(-1)
    return np.broadcast_to(found, len(model.estimator.transition_prob_))


def decoded_runs(rows: pl.DataFrame) -> Runs:
    """Runs of every series' most probable path."""
    path = rows["viterbi"].fill_null(-1).to_numpy().astype(np.int64)
    return runs(path, rows["series_id"].rle_id().to_numpy())


def shares(rows: pl.DataFrame, n_states: int) -> np.ndarray:
    """(n_states,) of all rows that the decoded path spends in each state."""
    path = rows["viterbi"].drop_nulls().to_numpy()
    return np.bincount(path[path >= 0], minlength=n_states)[:n_states] / max((path >= 0).sum(), 1)


def mean_durations(model: ChosenModel) -> np.ndarray:
    """(n_states,) expected steps of a segment; of an HMM, by its transitions."""
    known = getattr(model.estimator, "mean_duration_", None)
    if known is not None:
        return np.asarray(known)
    leave = 1.0 - np.diag(model.estimator.transition_prob_)
    return np.divide(1.0, leave, out=np.full_like(leave, np.inf), where=leave > 0)


def survival(model: ChosenModel) -> np.ndarray:
    """(n_states, 1001) the law's P(duration >= n), n = 1, 2, …; what lies beyond ``max_duration`` is the tail's."""
    estimator, n_steps = model.estimator, LONGEST + 1
    within = np.minimum(model_survival(estimator, n_steps), 1.0)
    beyond = np.zeros((len(within), max(n_steps - within.shape[1], 0)))
    tail: Any = getattr(estimator, "tail_prob_", None)
    if tail is not None:
        stay = np.minimum(np.asarray(tail), 1.0 - 1e-12)
        longer = np.clip((estimator.mean_duration_ - within.sum(axis=1)) * (1.0 - stay), 0.0, within[:, -1])
        beyond = longer[:, None] * stay[:, None] ** np.arange(beyond.shape[1])
    return np.column_stack([within, beyond])[:, :n_steps]


def hazard(curves: np.ndarray) -> np.ndarray:
    """(n_states, n - 1) P(a segment ends with its n-th step | it has that many), of survival curves (n_states, n)."""
    now, then = curves[:, :-1], curves[:, 1:]
    return 1.0 - np.divide(then, now, out=np.full_like(now, np.nan), where=now > 1e-12)


def shown_steps(*curves: np.ndarray) -> int:
    """How far survival curves are worth drawing: until none is above half a per cent, within 20 and 1000 steps."""
    alive = [np.flatnonzero(np.nan_to_num(curve) > _NEGLIGIBLE).max(initial=0) + 2 for curve in curves]
    return min(max(_SHORTEST, *alive), LONGEST)


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)
