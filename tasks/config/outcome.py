"""What a run says of itself: what is printed, kept with its publish, and read back by the nights after it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Occasion = Literal["night", "backfill"]
Finding = Occasion | Literal["refused"]
"""On what occasion something was found of the inputs; a night is refused that set every series aside."""
"""Whether a run is of its own day, or makes up for a day that is over: of those, nobody is alerted."""

IN_SHARDS = "IN_SHARDS"
"""The verdict of a run some of whose shards are published, and not all."""


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


class ChosenCandidate(TypedDict, total=False):
    """What names a candidate that was chosen, and for how many of the models that were fitted."""

    n_states: int
    emission: str
    duration: str
    transition: str
    initial: str
    n_models: int


class GateOutcome(TypedDict):
    """What the gate said: of one unit, or by unit where there are many.

    ``remedies`` has a sentence for each rule that stopped a model.
    """

    verdict: str
    reasons: list[str] | dict[str, list[str]]
    evidence: dict[str, Any]
    passed: dict[str, Any]
    remedies: NotRequired[list[str]]


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


class Performance(TypedDict):
    """What a rule for states does: ``n_stays`` that it was to find in ``n_rows``, after how many rows it did (mean,
    median, 90 %), the share that was over before, and its false alarms in 1,000 rows.
    """

    n_rows: int
    n_stays: int
    delay_mean: float | None
    delay_p50: float | None
    delay_p90: float | None
    missed: float | None
    false_per_1000: float | None


class RuleStatement(TypedDict, total=False):
    """What the rule for states is to be expected to do: in rows ``simulated`` from the models in force, taken as
    true; on the data's own rows, against the path that ``hindsight`` finds most probable; and on rows with known
    states, where there are any. The shares of the last two that the parameters have seen.
    """

    simulated: Performance
    hindsight: Performance
    hindsight_in_sample: float
    measured: Performance
    in_sample: float


class RunSummary(TypedDict, total=False):
    """A run's account of itself; ``n_published`` counts rows, the other counts series.

    ``notes`` are sentences that a user should read though the run is done.
    """

    run_key: str
    mlflow_run_id: str | None
    mlflow_experiment_id: str
    model_name: str
    model_version: int | None
    verdict: str | None
    states_table: str
    report: str
    as_of: str
    occasion: Occasion
    lineage: str
    means: dict[str, Any]
    reads: dict[str, Any]
    step: float
    n_series: int
    n_published: int
    n_held: int
    n_stale: int
    stale: list[dict[str, Any]]
    n_quarantined: int
    quarantined: list[dict[str, str]]
    wild: list[dict[str, Any]]
    drift: list[dict[str, Any]]
    ties: list[dict[str, Any]]
    best: BestCandidate | None
    chosen: list[ChosenCandidate]
    device: str
    gate: GateOutcome
    identity: dict[str, Any]
    states: LivingStates
    notes: list[str]
    rule: RuleStatement
    alerts: AlertsSummary
    seconds: float


class NightOutlook(TypedDict, total=False):
    """What a night would do and why; for a publish, with how many rows of how many series."""

    would: Literal["PUBLISH", "NOTHING", "STOP", "REFUSE"]
    why: str
    n_rows: int
    n_series: int


class TrialSummary(RunSummary, total=False):
    """What a run without consequences found: its pictures, and what a night would do."""

    pictures: list[str]
    night: NightOutlook


class LookSummary(TypedDict):
    """What a look at a source found, and the configuration that it wrote.

    ``decide`` says by key what is left to the user, ``refusal`` what a night would refuse as it stands.
    """

    config: str
    name: str
    n_rows: int
    n_series: int | None
    n_quarantined: int
    quarantined: list[dict[str, Any]]
    frequency: str | int | None
    features: list[str]
    decide: dict[str, str]
    refusal: str | None


class Promotion(TypedDict):
    """What became of the alias: the version that was asked for, the gate's word on it, and the champion before."""

    model_name: str
    model_version: int | None
    verdict: NotRequired[str | None]
    previous: NotRequired[int | None]


class Partition(TypedDict):
    """One day of a backfill, and what became of it."""

    as_of: str
    status: Literal["MISSING", "RUNNING", "FAILED", "DONE"]
    detail: str
    run_key: str | None
    fitted_as_of: NotRequired[str]


class BackfillSummary(TypedDict):
    """What a backfill has published; ``failed`` is what the data did not allow, by ``as_of``."""

    model_name: str
    states_table: str
    partitions: list[Partition]
    n_published: int
    failed: dict[str, str]
    notes: NotRequired[list[str]]
    alerts: NotRequired[AlertsSummary]
    seconds: NotRequired[float]


class LeakReport(TypedDict):
    """Something that later rows changed: see :class:`tasks.judgement.causality.Leak`."""

    what: str
    cut: str
    series_id: str | None
    time: str | None
    difference: float | None


class CausalityReport(TypedDict):
    """Whether a model looks ahead, at how many cuts of its source and in how many rows this was tried, and where."""

    model_name: str
    model_version: int
    is_causal: bool
    n_cuts: int
    n_compared: int
    leaks: list[LeakReport]


class TidiedTable(TypedDict):
    """Files of a table that were merged, and that were removed."""

    n_merged: int
    n_removed: int


class Maintenance(TypedDict):
    """What became of the tables, of rows of results that are too old, and of fits that no run came back for."""

    model_name: str
    states_table: str
    tables: dict[str, TidiedTable]
    n_forgotten_results: int
    n_forgotten_fits: int


class PageSummary(TypedDict):
    """Where a page is, and what it tells of; the counts are of series."""

    report: str
    model_name: str
    model_version: int | None
    run_key: str
    as_of: str
    verdict: str | None
    states_table: str
    n_series: int
    n_held: int
    n_stale: int
    n_quarantined: int
    notes: list[str]
    seconds: NotRequired[float]
