"""The gate before promotion: conditions written down before the fit, and closed where one cannot be judged."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

import hsmm
from tasks.config.settings import Promote
from tasks.fitting.bundle import Member
from tasks.fitting.fit import series_lengths
from tasks.fitting.scaling import Scaling
from tasks.judgement.align import Identity

Verdict = Literal["PROMOTE", "HOLD", "REJECT"]

_WALL = 0.01
_MOST_NATS = 1e6
_CANARY_ROWS = 50


@dataclass(frozen=True)
class Decision:
    """What the gate says of one unit's best candidate.

    REJECT: the model is unsound. HOLD: it may be sound, but does not earn the champion's place. ``reasons`` are codes,
    ``evidence`` the numbers they rest on.
    """

    verdict: Verdict
    reasons: list[str]
    evidence: dict[str, float | bool | None]


def compare(
    model: Any,
    champion: tuple[Member, Scaling] | None,
    identity: Identity,
    scaling: Scaling,
    rows: pl.DataFrame,
    rules: Promote,
) -> Decision:
    """Judge a sound model on the unit's ``rows``: those held out from both decide which predicts better."""
    if champion is None:
        return Decision("PROMOTE", [], {})
    evidence: dict[str, Any] = {"margin": identity.margin}
    reasons = [] if identity.margin >= rules.min_margin else ["states_not_matched"]
    improvement, n_rows = _improvement(model, champion, scaling, rows)
    evidence |= {"improvement": improvement, "n_held_out": n_rows}
    if improvement is None:
        reasons.append("no_rows_to_compare_on")
    elif not improvement >= rules.min_improvement:
        reasons.append("no_improvement")
    return Decision("HOLD" if reasons else "PROMOTE", reasons, evidence)


def overall(decisions: Mapping[str, Decision]) -> Verdict:
    """PROMOTE if any unit has a better model; HOLD if none has, but some could."""
    verdicts = {decision.verdict for decision in decisions.values()}
    return "PROMOTE" if "PROMOTE" in verdicts else "HOLD" if "HOLD" in verdicts else "REJECT"


def log_density(model: Any, scaling: Scaling, rows: pl.DataFrame) -> np.ndarray:
    """(n_rows,) log p(row | rows before it) in the features' own units."""
    return model.log_density(scaling.apply(rows), series_lengths(rows)) - scaling.log_volume(rows)


def examine(
    model: Any, scaling: Scaling, rows: pl.DataFrame, rules: Promote
) -> tuple[list[str], dict[str, float | bool | None]]:
    """Why a fitted model is unsound by itself, as codes (none: it is sound), and the evidence."""
    training = rows.filter("trains")
    values, lengths = scaling.apply(training), series_lengths(training)
    finite = _is_finite(model) and bool(np.isfinite(model.log_density(values, lengths)).all())
    evidence: dict[str, Any] = {"finite": finite, "converged": bool(model.converged_)}
    if not finite:
        return ["not_finite"], evidence
    evidence |= {
        "usable": is_usable(model, values[~np.isnan(values).all(1)][-_CANARY_ROWS:]),
        "collapsed": bool(model.emission_.collapsed(hsmm.Sequences.from_arrays(values, lengths)).any()),
        "smallest_share": float(model.predict_proba(values, lengths).mean(0).min()),
        "wall": _wall(model),
    }
    return list(_complaints(evidence, rules)), evidence


def _complaints(evidence: Mapping[str, Any], rules: Promote) -> Iterator[str]:
    if not evidence["usable"]:
        yield "not_usable"
    if not evidence["converged"]:
        yield "not_converged"
    if evidence["collapsed"]:
        yield "collapsed_state"
    if not evidence["smallest_share"] >= rules.min_share:
        yield "dead_state"
    if not evidence["wall"] <= _WALL:
        yield "duration_wall"


def _is_finite(model: Any) -> bool:
    parts = model._fitted_model().components().values()
    tables = [table.numpy() for part in parts for table in part.parameters.values()]
    return math.isfinite(model.log_likelihood_) and all(bool(np.isfinite(table).all()) for table in tables)


def is_usable(model: Any, values: np.ndarray) -> bool:
    """Whether a model decodes rows to the same bits once it has been saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            loaded: Any = hsmm.load(model.save(Path(folder) / "model"))
            return bool(np.array_equal(loaded.filter_proba(values), model.filter_proba(values)))
        except (OSError, ValueError):
            return False


def _wall(model: Any) -> float:
    """The largest share of a state's segments that lasts as long as is allowed; none where durations go on."""
    if model.tail_prob_ is not None or model.n_states == 1:
        return 0.0
    return float(model.duration_prob_[:, -1].max())


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
