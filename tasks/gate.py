"""The gate before promotion: conditions written down before the fit, and closed where one cannot be judged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from tasks.align import Identity
from tasks.bundle import Member
from tasks.fit import series_lengths
from tasks.scaling import Scaling
from tasks.settings import Promote
from tasks.units import FittedCandidate

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]

_WALL = 0.01
_MOST_NATS = 1e6


@dataclass(frozen=True)
class Decision:
    """What the gate says of one unit's best candidate.

    REJECT: the model is unsound. HOLD: it may be sound, but does not earn the champion's place. ``reasons`` are codes,
    ``evidence`` the numbers they rest on.
    """

    verdict: Verdict
    reasons: list[str]
    evidence: dict[str, float | bool | None]


def decide(
    candidate: FittedCandidate,
    champion: tuple[Member, Scaling] | None,
    identity: Identity,
    scaling: Scaling,
    rows: pl.DataFrame,
    rules: Promote,
) -> Decision:
    """Judge a candidate on the unit's ``rows``, those held out from both models deciding which predicts better."""
    unsound, evidence = _unsound(candidate, scaling, rows, rules)
    if unsound:
        return Decision("REJECT", unsound, evidence)
    if champion is None:
        return Decision("PROMOTE", [], evidence)
    held, more = _no_better(candidate, champion, identity, scaling, rows, rules)
    return Decision("HOLD" if held else "PROMOTE", held, {**evidence, **more})


def overall(decisions: Mapping[str, Decision]) -> Verdict:
    """PROMOTE if any unit has a better model; HOLD if none has, but some could."""
    verdicts = {decision.verdict for decision in decisions.values()}
    return "PROMOTE" if "PROMOTE" in verdicts else "HOLD" if "HOLD" in verdicts else "REJECT"


def log_density(model: Any, scaling: Scaling, rows: pl.DataFrame) -> np.ndarray:
    """(n_rows,) log p(row | rows before it) in the features' own units."""
    return model.log_density(scaling.apply(rows), series_lengths(rows)) - scaling.log_volume(rows)


def _unsound(
    candidate: FittedCandidate, scaling: Scaling, rows: pl.DataFrame, rules: Promote
) -> tuple[list[str], dict[str, Any]]:
    model = candidate.model
    finite = _is_finite(model)
    evidence: dict[str, Any] = {"finite": finite, "converged": bool(model.converged_)}
    if not finite:
        return ["not_finite"], evidence
    training = rows.filter("trains")
    occupancy = model.predict_proba(scaling.apply(training), series_lengths(training)).mean(0)
    evidence |= {"smallest_share": float(occupancy.min()), "wall": _wall(model)}
    return list(_complaints(candidate, evidence, rules)), evidence


def _complaints(candidate: FittedCandidate, evidence: Mapping[str, Any], rules: Promote) -> Iterator[str]:
    if not evidence["converged"]:
        yield "not_converged"
    if "floored variance" in (candidate.row.get("warnings") or ""):
        yield "collapsed_state"
    if not evidence["smallest_share"] >= rules.min_share:
        yield "dead_state"
    if not evidence["wall"] <= _WALL:
        yield "duration_wall"


def _is_finite(model: Any) -> bool:
    tables = [model.initial_prob_, model.transition_prob_, model.duration_prob_]
    return math.isfinite(model.log_likelihood_) and all(bool(np.isfinite(table).all()) for table in tables)


def _wall(model: Any) -> float:
    """The largest share of a state's segments that lasts as long as is allowed; none where durations go on."""
    if model.tail_prob_ is not None or model.n_states == 1:
        return 0.0
    return float(model.duration_prob_[:, -1].max())


def _no_better(
    candidate: FittedCandidate,
    champion: tuple[Member, Scaling],
    identity: Identity,
    scaling: Scaling,
    rows: pl.DataFrame,
    rules: Promote,
) -> tuple[list[str], dict[str, Any]]:
    evidence: dict[str, Any] = {"margin": identity.margin}
    reasons = [] if identity.margin >= rules.min_margin else ["states_not_matched"]
    improvement, n_rows = _improvement(candidate.model, champion, scaling, rows)
    evidence |= {"improvement": improvement, "n_held_out": n_rows}
    if improvement is None:
        reasons.append("no_rows_to_compare_on")
    elif not improvement >= rules.min_improvement:
        reasons.append("no_improvement")
    return reasons, evidence


def _improvement(
    model: Any, champion: tuple[Member, Scaling], scaling: Scaling, rows: pl.DataFrame
) -> tuple[float | None, int]:
    """Nats per row by which the model predicts better than the champion the rows that neither was fitted on."""
    member, scales = champion
    known = rows.filter(pl.col("series_id").is_in(scales.statistics["series_id"].implode()))
    own_end = pl.col("time").filter(pl.col("trains")).max().over("series_id")
    new = known.select(pl.col("time") > pl.max_horizontal(own_end, pl.lit(member.train_end))).to_series().to_numpy()
    new &= ~np.isnan(scaling.apply(known)).all(1)
    if not new.any():
        return None, 0
    return _gain(log_density(model, scaling, known)[new], log_density(member.model, scales, known)[new]), int(new.sum())


def _gain(log_densities: np.ndarray, before: np.ndarray) -> float:
    """Nats per row; rows that both find impossible tell them apart no more than rows they agree on."""
    bounded = [
        np.nan_to_num(values, nan=-_MOST_NATS, posinf=_MOST_NATS, neginf=-_MOST_NATS)
        for values in (log_densities, before)
    ]
    return float((bounded[0] - bounded[1]).mean())
