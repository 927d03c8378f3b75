"""How soon a rule finds what it is to find, and how often it finds what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.alerts.rule import Found, Rule
from tasks.config.outcome import Performance

UNKNOWN = -1


@dataclass(frozen=True)
class Judgement:
    """What a rule made of rows whose states are known.

    Attributes
    ----------
    n_rows
        Rows with a known state.
    delays
        Of every stay that the rule is to find and found: the rows from its first to the one at which it was confirmed.
    n_missed, n_false
        Stays that it did not find before they were over; alerts while the state was another, or after one of the same
        stay.
    """

    n_rows: int
    delays: np.ndarray
    n_missed: int
    n_false: int


def judged(rule: Rule, found: Found, truth: np.ndarray, first: np.ndarray) -> Judgement:
    """A rule's findings against the true states (n_rows,), by id, -1 where they are unknown.

    A stay is to be found where it is entered from another known state and the rule says that this matters.
    """
    n_rows = len(truth)
    begins = first | (truth != np.append(UNKNOWN, truth[:-1]))
    starts = np.flatnonzero(begins)
    stay = begins.cumsum() - 1
    before = np.where(first[starts], UNKNOWN, np.append(UNKNOWN, truth[:-1])[starts])
    due = np.array([_matters(rule, a, b) for a, b in zip(before, truth[starts], strict=True)], dtype=bool)
    known = truth != UNKNOWN
    there = np.zeros(n_rows, dtype=bool)
    inside = known & (truth < found.within.shape[1])
    there[inside] = found.within[np.flatnonzero(inside), truth[inside]]
    noted = np.full(len(starts), n_rows)
    np.minimum.at(noted, stay[there], np.flatnonzero(there))
    is_found = noted < n_rows
    alerts = _alerts(rule, found)
    right = alerts.copy()
    right[:, :] = False
    right[np.flatnonzero(inside), truth[inside]] = alerts[np.flatnonzero(inside), truth[inside]]
    told = np.bincount(stay[right.any(axis=1)], minlength=len(starts))
    n_false = int((alerts & ~right)[known].sum() + np.maximum(told - 1, 0).sum())
    delays = (noted - starts)[due & is_found]
    return Judgement(int(known.sum()), delays, int((due & ~is_found).sum()), n_false)


def together(parts: Sequence[Judgement]) -> Performance:
    """What several findings come to."""
    delays = np.concatenate([np.empty(0), *(part.delays for part in parts)])
    n_rows, n_missed = sum(part.n_rows for part in parts), sum(part.n_missed for part in parts)
    n_due = len(delays) + n_missed
    n_false = sum(part.n_false for part in parts)
    return {
        "n_rows": n_rows,
        "n_stays": n_due,
        "delay_mean": float(delays.mean()) if len(delays) else None,
        "delay_p50": float(np.quantile(delays, 0.5, method="inverted_cdf")) if len(delays) else None,
        "delay_p90": float(np.quantile(delays, 0.9, method="inverted_cdf")) if len(delays) else None,
        "missed": n_missed / n_due if n_due else None,
        "false_per_1000": 1000 * n_false / n_rows if n_rows else None,
    }


def _matters(rule: Rule, before: int, after: int) -> bool:
    if UNKNOWN in (before, after):
        return False
    return after in rule.states or rule.matters(before, after)


def _alerts(rule: Rule, found: Found) -> np.ndarray:
    """(n_rows, n_states) whether the rule says that a state was entered, or changed to."""
    alerts = np.zeros_like(found.began)
    for state in rule.states:
        if state < alerts.shape[1]:
            alerts[:, state] = found.began[:, state]
    for row in np.flatnonzero((found.entered >= 0) & (found.before >= 0) & (found.entered != found.before)):
        before, after = int(found.before[row]), int(found.entered[row])
        alerts[row, after] |= rule.matters(before, after)
    return alerts
