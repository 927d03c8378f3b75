"""The page's section on calibration: what was said, what happened, and in one sentence whether they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy import special

from tasks.fitting.lasting import lasting
from tasks.report.calibration import (
    CONFIDENCE,
    FEWEST_STAYS,
    LEVELS,
    N_PATHS,
    OUTER,
    Frequency,
    Intervals,
    Outcomes,
    Residuals,
    intervals,
    outcomes,
    reliability,
    residuals,
)
from tasks.report.page.data import ChosenModel, PageData
from tasks.report.page.plots import Figure, figure, line
from tasks.report.page.text import count, number, share, short

HORIZON = 5
MOST_RESIDUALS = 3
_LITTLE = 0.02
_MOST_PLACES = 80
_MOST_ROWS = 200_000


def calibration(data: PageData) -> dict[str, Any]:
    """Intervals of the time left, probabilities of a change, pseudo-residuals; ``why_not`` where they cannot be had."""
    rows, model = data.modelled.filter(pl.col("remaining_p90").is_not_null()), data.model
    if model is None or not set(model.scaling.columns) <= set(rows.columns):
        return {"why_not": "the model or the features could not be read", "figures": {}}
    rows = _newest_series(rows)
    if rows.is_empty():
        return {"why_not": "no row of this model has a forecast", "figures": {}}
    try:
        found, values = _asked(model, rows)
    except ValueError as error:
        return {"why_not": str(error), "figures": {}}
    sampled = _out_of_sample(rows, found)
    return {"why_not": "", "figures": {}, **_told(data, *sampled, values, rows)}


def _told(
    data: PageData, rows: pl.DataFrame, found: Outcomes, where: str, values: np.ndarray, every: pl.DataFrame
) -> dict[str, Any]:
    lasting, groups = intervals(rows, found), reliability(rows, found, HORIZON)
    features = [] if data.model is None else data.model.scaling.columns
    series = every["series_id"].rle_id().to_numpy()
    known = {name: residuals(values[:, place], series) for place, name in enumerate(features[:MOST_RESIDUALS])}
    tested = {name: of for name, of in known.items() if of is not None}
    return {
        "where": where,
        "intervals": _interval_rows(lasting),
        "intervals_verdict": _intervals_verdict(lasting),
        "horizon": HORIZON,
        "reliability_verdict": _reliability_verdict(groups),
        "has_groups": bool(groups),
        "residuals": [
            (f"residuals-{place}", short(name), _residuals_verdict(of))
            for place, (name, of) in enumerate(tested.items())
        ],
        "figures": {
            **({"reliability": reliability_plot(groups)} if groups else {}),
            **{f"residuals-{place}": residual_plot(of) for place, of in enumerate(tested.values())},
        },
    }


def _newest_series(rows: pl.DataFrame) -> pl.DataFrame:
    """All rows, or of very many those of as many whole series as can be asked about."""
    if len(rows) <= _MOST_ROWS:
        return rows
    sizes = rows.group_by("series_id", maintain_order=True).len()
    kept = sizes.filter((pl.col("len").cum_sum() <= _MOST_ROWS) | (pl.int_range(pl.len()) == 0))["series_id"]
    return rows.filter(pl.col("series_id").is_in(kept.implode()))


def _asked(model: ChosenModel, rows: pl.DataFrame) -> tuple[Outcomes, np.ndarray]:
    given = model.scaling.given(rows, model.estimator)
    paths = lasting(model.estimator).sample_paths(**given, n_paths=N_PATHS)
    values = np.asarray(model.estimator.pseudo_residuals(**given, ties="random"))
    return outcomes(paths, given["lengths"]), values


def _out_of_sample(rows: pl.DataFrame, found: Outcomes) -> tuple[pl.DataFrame, Outcomes, str]:
    """The rows that the parameters had not seen where these hold enough stays, else all; and in words which."""
    fresh = ~rows["in_sample"].fill_null(value=True).to_numpy()
    n_stays = len(np.unique(found.stay[:, fresh])) // len(found.stay)
    n_fresh = int(fresh.sum())
    if n_stays >= FEWEST_STAYS * 3:
        own = Outcomes(found.remaining[:, fresh], found.stay[:, fresh], found.left[fresh])
        told = f"{count(n_fresh)} rows that the parameters had not seen when the forecasts were made"
        return rows.filter(fresh), own, f"{told}: a test of foresight."
    seen = share(1.0 - n_fresh / len(rows))
    return (
        rows,
        found,
        f"All {count(len(rows))} rows, of which the parameters had seen {seen}: a test of fit, not of foresight.",
    )


def _interval_rows(found: Intervals) -> list[dict[str, Any]]:
    return [
        {
            "level": f"{100 * of.level:.0f} %",
            "less": _percent(of.less.happened),
            "width": round(_percent(of.at_most.happened) - _percent(of.less.happened), 2),
            "nominal": round(100 * of.level, 2),
            "band": [round(100 * edge, 2) for edge in _band(of.level, of.at_most.band(2 * len(LEVELS)))],
            "said": f"{share(of.less.happened)} to {share(of.at_most.happened)}",
        }
        for of in found.quantiles
        if np.isfinite(of.less.happened)
    ]


def _percent(value: float) -> float:
    return round(100 * value, 2)


def _band(level: float, width: float) -> tuple[float, float]:
    return max(level - width, 0.0), min(level + width, 1.0)


def _intervals_verdict(found: Intervals) -> str:
    inside = found.inside
    if inside.n_stays < FEWEST_STAYS:
        return f"Too few stays to tell: {inside.n_stays}, at least {FEWEST_STAYS} are needed."
    held = f"The 80 % intervals held {share(inside.happened)} of the time, over {count(inside.n_stays)} stays"
    short_by = {of.level: of for of in found.quantiles if of.above > 0}
    long_by = {of.level: of for of in found.quantiles if of.below > 0}
    if not short_by and not long_by:
        return f"{held}: as they should, within chance."
    if 0.9 in short_by and 0.1 in long_by:
        return f"{held}: they are too narrow; stays are both shorter and longer than said."
    if short_by and long_by:
        return f"{held}: the law of durations has another shape than what happened."
    if short_by:
        return f"{held}: stays last longer than said."
    return f"{held}: stays end earlier than said."


def reliability_plot(groups: list[Frequency]) -> Figure:
    """What was said of each group against how often it happened, and the band of chance around right forecasts.

    Around a single group, line and band are drawn for a little way.
    """
    said, order = np.unique([of.said for of in groups], return_index=True)
    kept = [groups[place] for place in order]
    happened, width = np.array([of.happened for of in kept]), np.array([of.band(len(groups)) for of in kept])
    if len(kept) == 1:
        said, width = said + np.array([-_LITTLE, 0.0, _LITTLE]), width.repeat(3)
        happened = np.array([np.nan, *happened, np.nan])
    lines = [
        line("upper", np.minimum(said + width, 1.0), "quiet", "edge"),
        line("lower", np.maximum(said - width, 0.0), "quiet", "edge"),
        line("if right", said, "quiet", "line", 1.0),
        line("happened", happened, "accent", "points"),
    ]
    titles = ("P(change), as said", "share that changed")
    return figure(said, lines, titles, bands=[(0, 1)])


def _reliability_verdict(groups: list[Frequency]) -> str:
    if not groups:
        return f"Too few stays to tell: no group of like probabilities has {FEWEST_STAYS}."
    out = [of for of in groups if abs(of.happened - of.said) > of.band(len(groups))]
    if not out:
        lie = f"All {len(groups)} groups lie" if len(groups) > 1 else "The one group of like probabilities lies"
        return f"{lie} within what chance allows: a probability of change means what it says."
    worst = max(out, key=lambda of: abs(of.happened - of.said) / of.error)
    often = "more" if worst.happened > worst.said else "less"
    lie = f"{len(out)} of {len(groups)} groups lie" if len(groups) > 1 else "The one group of like probabilities lies"
    return (
        f"{lie} outside what chance allows; where {share(worst.said)} was said, "
        f"{share(worst.happened)} happened: changes came {often} often than said."
    )


def residual_plot(found: Residuals) -> Figure:
    """Quantiles of pseudo-residuals against those of the standard normal law, with the band of 95 % for each point."""
    n = len(found.values)
    tails = np.unique(
        np.r_[np.geomspace(1, n / 2, _MOST_PLACES // 4), n + 1 - np.geomspace(1, n / 2, _MOST_PLACES // 4)]
    )
    rank = np.unique(np.r_[tails, np.linspace(1, n, _MOST_PLACES // 2)].round().astype(int))
    expected = special.ndtri((rank - 0.5) / n)
    low, high = (special.ndtri(special.betaincinv(rank, n - rank + 1, level)) for level in (0.025, 0.975))
    shown = np.clip(found.values[rank - 1], -12.0, 12.0)
    lines = [
        line("upper", high, "quiet", "edge"),
        line("lower", low, "quiet", "edge"),
        line("if right", expected, "quiet", "line", 1.0),
        line("residuals", shown, "accent", "points"),
    ]
    return figure(expected, lines, ("standard normal quantile", "pseudo-residual"), bands=[(0, 1)])


def _residuals_verdict(found: Residuals) -> str:
    apart, allowed = (f"{number(100 * part, 4)} %" for part in (found.distance, found.allowed))
    right, alone = found.distance <= found.allowed, abs(found.correlation) <= 2 * found.allowed_correlation
    law = "As it should be" if right else "Not quite"
    follows = "" if alone else f" Each resembles the one before it (correlation {number(found.correlation, 2)})."
    told = f"{law}: their distribution lies {apart} at most from the normal one, and chance allows {allowed}."
    return f"{told}{_tails(found)}{follows}"


def _tails(found: Residuals) -> str:
    """Whether more or fewer lie far out than chance allows."""
    chance = float(special.ndtri(0.5 + CONFIDENCE / 2)) * np.sqrt(0.01 * 0.99 / len(found.values))
    if abs(found.beyond - 0.01) <= chance:
        return ""
    kind = "heavier" if found.beyond > 0.01 else "lighter"
    return f" {share(found.beyond)} lie beyond ±{number(OUTER)}, where 1 % should: {kind} tails than the model's."
