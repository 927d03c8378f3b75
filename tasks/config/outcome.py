"""What a run says of itself: what is printed, kept with its publish, and read back by the nights after it."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Occasion = Literal["night", "backfill"]
"""Whether a run is of its own day, or makes up for a day that is over: of those, nobody is alerted."""


class BestCandidate(TypedDict, total=False):
    """What names the chosen candidate, and what it was chosen by."""

    n_states: int
    emission: str
    duration: str
    transition: str
    initial: str
    criterion: str
    score: float | None
    log_likelihood: float


class GateOutcome(TypedDict):
    """What the gate said: of one unit, or by unit where there are many."""

    verdict: str
    reasons: list[str] | dict[str, list[str]]
    evidence: dict[str, Any]
    passed: dict[str, Any]


class LivingStates(TypedDict):
    """Ids that the models in force bear, and ids that died with this run."""

    alive: list[int]
    died: list[int]


class AlertsSummary(TypedDict, total=False):
    """What a run found to be alerted: how many, the newest of them, and what failed."""

    n_new: int
    n_open: int
    n_pending: int
    new: list[dict[str, Any]]
    failed: str


class RunSummary(TypedDict, total=False):
    """A run's account of itself; ``n_published`` counts rows, the other counts series.

    ``notes`` are sentences that a user should read though the run is done.
    """

    run_key: str
    mlflow_run_id: str | None
    model_name: str
    model_version: int | None
    verdict: str | None
    states_table: str
    report: str
    as_of: str
    occasion: Occasion
    lineage: str
    means: dict[str, Any]
    n_series: int
    n_published: int
    n_held: int
    n_stale: int
    stale: list[dict[str, Any]]
    n_quarantined: int
    quarantined: list[dict[str, str]]
    best: BestCandidate | None
    gate: GateOutcome
    identity: dict[str, Any]
    states: LivingStates
    notes: list[str]
    alerts: AlertsSummary
    seconds: float


class Promotion(TypedDict, total=False):
    """What became of the alias: the version that was asked for, the gate's word on it, and the champion before."""

    model_name: str
    model_version: int | None
    verdict: str | None
    previous: int | None
