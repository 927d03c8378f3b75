"""Whether what was said of the future came true: intervals of the time left, probabilities of a change, residuals.

Forecasts are the table's, causal as they were published. What happened cannot be seen, for states are hidden: it is
read off paths drawn from their law given all rows, for if the model is right, forecast and drawn path go together
exactly as forecast and true path would. A most probable path would not do: it merges short stays.

A row counts where its series goes on for longer than the row's forecast reaches. That is known when the forecast is
made, so that stays whose end is not seen neither count as short nor are left out for being long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import special, stats

LEVELS = (0.1, 0.5, 0.9)
CONFIDENCE = 0.95
N_PATHS = 16
N_GROUPS = 10
FEWEST_STAYS = 10


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What happened after every row, along each of the drawn paths.

    Attributes
    ----------
    remaining
        (n_paths, n_rows) steps left of the stay, the row among them; a lower bound where the series ends first.
    stay
        (n_paths, n_rows) a number for each stay, none twice.
    left
        (n_rows,) rows that the series has left, this one among them.
    """

    remaining: np.ndarray
    stay: np.ndarray
    left: np.ndarray

    def shown(self, reach: np.ndarray) -> np.ndarray:
        """(n_rows,) whether the series tells that a stay ends, or not, within ``reach`` (n_rows,) steps."""
        return reach < self.left


def outcomes(paths: np.ndarray, lengths: list[int]) -> Outcomes:
    """From paths (n_paths, n_rows) of packed series of these ``lengths``."""
    n_paths, n_rows = paths.shape
    ends = np.cumsum(lengths)
    begins = np.zeros(n_rows, dtype=bool)
    begins[ends - np.array(lengths)] = True
    starts = np.ones((n_paths, n_rows), dtype=bool)
    starts[:, 1:] = (paths[:, 1:] != paths[:, :-1]) | begins[1:]
    stay = starts.ravel().cumsum() - 1
    length = np.bincount(stay)
    first = np.flatnonzero(starts.ravel())
    remaining = (first + length)[stay] - np.arange(n_paths * n_rows)
    left = np.repeat(ends, lengths) - np.arange(n_rows)
    return Outcomes(remaining.reshape(n_paths, n_rows), stay.reshape(n_paths, n_rows), left)


@dataclass(frozen=True)
class Frequency:
    """How often something happened, and how far chance alone takes that from what was said.

    ``said`` is the mean probability, ``happened`` the share of rows, ``error`` one standard error of their difference,
    in which rows of one stay count as one draw; ``n_stays`` as many as there were in the mean path.
    """

    said: float
    happened: float
    error: float
    n_stays: int

    def band(self, n_compared: int = 1) -> float:
        """How far the two may lie apart by chance, with 95 % for all of as many comparisons together."""
        if self.n_stays < 2:
            return np.inf
        return float(stats.t.ppf(1.0 - (1.0 - CONFIDENCE) / (2 * n_compared), self.n_stays - 1)) * self.error


def frequency(said: np.ndarray, happened: np.ndarray, stay: np.ndarray) -> Frequency:
    """Of rows (n,) that were ``said`` to happen with these probabilities, and (n_paths, n) whether it ``happened``."""
    n_paths, n_rows = happened.shape
    if n_rows == 0:
        return Frequency(np.nan, np.nan, np.inf, 0)
    apart = happened - said
    _, group = np.unique(stay, return_inverse=True)
    group = group.reshape(stay.shape)
    apart = apart - apart.mean(axis=1, keepdims=True)
    sums = np.bincount(group.ravel(), weights=apart.ravel())
    n_stays = len(sums) // n_paths
    spread = float(np.square(sums).sum()) / n_paths * (n_stays / max(n_stays - 1, 1))
    alone = float((said * (1.0 - said)).sum())  # rows that were nearly sure, and all came true, still might not have
    error = float(np.sqrt(max(spread, alone))) / n_rows
    return Frequency(float(said.mean()), float(happened.mean()), error, n_stays)


@dataclass(frozen=True)
class Quantile:
    """One level of the forecast of the time left: the shares of rows with less than the quantile, and with no more.

    Steps are whole numbers, so that a right quantile has its level between the two.
    """

    level: float
    less: Frequency
    at_most: Frequency

    @property
    def above(self) -> float:
        """By how much the level lies above both shares, 0 where between them: the forecasts are too short."""
        return max(self.level - self.at_most.happened - self.at_most.band(2 * len(LEVELS)), 0.0)

    @property
    def below(self) -> float:
        """By how much the level lies below both: the forecasts are too long."""
        return max(self.less.happened - self.less.band(2 * len(LEVELS)) - self.level, 0.0)


@dataclass(frozen=True)
class Intervals:
    """The 80 % intervals of the time left, against what happened."""

    inside: Frequency
    quantiles: tuple[Quantile, ...]
    n_rows: int


def intervals(rows: pl.DataFrame, found: Outcomes) -> Intervals:
    """Of the rows whose series goes on beyond the interval's upper end."""
    quantiles = [rows[f"remaining_p{round(100 * level)}"].fill_null(np.inf).to_numpy() for level in LEVELS]
    counts = np.isfinite(quantiles[-1]) & found.shown(quantiles[-1])
    remaining, stay = found.remaining[:, counts], found.stay[:, counts]
    low, _, high = (steps[counts] for steps in quantiles)
    levels = tuple(
        Quantile(
            level,
            frequency(np.full(counts.sum(), level), remaining < steps[counts], stay),
            frequency(np.full(counts.sum(), level), remaining <= steps[counts], stay),
        )
        for level, steps in zip(LEVELS, quantiles, strict=True)
    )
    promised = np.full(counts.sum(), LEVELS[-1] - LEVELS[0])
    inside = frequency(promised, (remaining >= low) & (remaining <= high), stay)
    return Intervals(inside, levels, int(counts.sum()))


def reliability(rows: pl.DataFrame, found: Outcomes, horizon: int) -> list[Frequency]:
    """P(change within ``horizon`` steps) against how often one came, in groups of like probability, lowest first."""
    said = rows[f"p_change_{horizon}"].fill_null(np.nan).to_numpy()
    counts = np.isfinite(said) & found.shown(np.full(len(said), horizon))
    said, came, stay = said[counts], found.remaining[:, counts] <= horizon, found.stay[:, counts]
    edges = np.unique(np.quantile(said, np.linspace(0, 1, N_GROUPS + 1)[1:-1])) if len(said) else np.array([])
    group = np.searchsorted(edges, said, side="left")
    groups = [frequency(said[own], came[:, own], stay[:, own]) for k in np.unique(group) if (own := group == k).any()]
    return [of for of in groups if of.n_stays >= FEWEST_STAYS]


@dataclass(frozen=True, eq=False)
class Residuals:
    """The pseudo-residuals of one feature against the standard normal law that they have under a right model.

    Attributes
    ----------
    values
        (n,) in rising order.
    distance, allowed
        The greatest distance of the two distribution functions, and what 95 % of right models stay below.
    beyond
        The share outside the normal law's 99 %.
    correlation, allowed_correlation
        Of each with the one before it, and as above.
    """

    values: np.ndarray
    distance: float
    allowed: float
    beyond: float
    correlation: float
    allowed_correlation: float


OUTER = float(special.ndtri(0.995))


def residuals(values: np.ndarray, series: np.ndarray) -> Residuals | None:
    """Of one feature's pseudo-residuals (n_rows,) in the order of their ``series``; None for fewer than 20."""
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    if len(ordered) < 20:
        return None
    places = np.arange(len(ordered) + 1) / len(ordered)
    normal = special.ndtr(ordered)
    distance = float(max((places[1:] - normal).max(), (normal - places[:-1]).max()))
    pairs = known[1:] & known[:-1] & (series[1:] == series[:-1])
    before, after = values[:-1][pairs], values[1:][pairs]
    varies = len(before) > 2 and before.std() > 0 and after.std() > 0
    correlation = float(np.corrcoef(before, after)[0, 1]) if varies else 0.0
    allowed = float(stats.kstwobign.ppf(CONFIDENCE)) / np.sqrt(len(ordered))
    chance = float(special.ndtri(0.5 + CONFIDENCE / 2)) / np.sqrt(max(len(before), 1))
    return Residuals(ordered, distance, allowed, float((np.abs(ordered) > OUTER).mean()), correlation, chance)
