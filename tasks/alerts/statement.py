"""What the rule for states is to be expected to do, said before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.alerts.performance import UNKNOWN, Judgement, judged, together
from tasks.alerts.rule import Rule, rule_for
from tasks.alerts.sequence import first_rows, state_probabilities
from tasks.alerts.simulation import simulated
from tasks.config.columns import WITHOUT_VALUE
from tasks.config.outcome import RuleStatement
from tasks.config.settings import Settings
from tasks.fitting.bundle import ALL, Bundle, Member
from tasks.fitting.decode import by_identity
from tasks.source.run_key import feature_matrix
from tasks.source.validate import KNOWN, Validated

_ROWS = 20_000
_MOST_UNITS = 20
_ENOUGH_STAYS = 10


def stated(
    bundle: Bundle, decoded: pl.DataFrame | Sequence[Observed], validated: Validated, settings: Settings
) -> RuleStatement:
    """Delay and false alarms of the configuration's rule under the models in force, and on known states.

    Simulated are 20,000 rows, of at most twenty models where each series has its own; as many have no value as in the
    data. That takes the model as true: beside it stands what the rule does on the data's own rows, against the path in
    hindsight. What is counted is every alert, before ``alerts.most`` of them are told. Where rows are ``decoded`` shard
    after shard, what was :func:`observed` in each is enough.
    """
    rule = rule_for(settings)
    parts = [*_simulated(bundle, rule, validated, settings)]
    said: RuleStatement = {"simulated": together(parts)} if parts else {}
    seen = [observed(decoded, validated, settings)] if isinstance(decoded, pl.DataFrame) else decoded
    return said | _in_hindsight(seen) | _measured(seen)


stated_task = task(name="rule", cache_policy=NO_CACHE)(stated)


@dataclass(frozen=True)
class Observed:
    """What the rule made of a shard's own rows.

    Attributes
    ----------
    hindsight, unseen
        Against the path in hindsight: of all rows with values, and of those that the parameters have not seen.
    n_rows, n_seen
        Rows with values, and those of them that the parameters have seen.
    measured
        Against the known states, of the series that have one.
    n_labelled, n_labelled_seen
        Rows with a known state, and those of them that the parameters have seen.
    """

    hindsight: Judgement
    unseen: Judgement
    n_rows: int
    n_seen: int
    measured: Judgement
    n_labelled: int
    n_labelled_seen: int


def observed(decoded: pl.DataFrame, validated: Validated, settings: Settings) -> Observed:
    """What the rule makes of the rows of whole series."""
    labels = validated.rows.select("series_id", "time", KNOWN) if KNOWN in validated.rows.columns else None
    return _observed(rule_for(settings), decoded, labels)


def _observed(rule: Rule, decoded: pl.DataFrame, labels: pl.DataFrame | None = None) -> Observed:
    rows = decoded.filter(~pl.col("status").is_in(WITHOUT_VALUE))
    path, seen = rows["viterbi"].cast(pl.Int64).fill_null(UNKNOWN).to_numpy(), rows["in_sample"].to_numpy()
    hindsight, unseen = _judged(rule, rows, path, np.where(seen, UNKNOWN, path))
    known = rows.clear().with_columns(pl.lit(None, pl.Int64).alias(KNOWN))
    if labels is not None:
        known = _labelled(rows, labels)
    told = known.filter(pl.col(KNOWN).is_not_null())
    (measured,) = _judged(rule, known, known[KNOWN].fill_null(UNKNOWN).to_numpy())
    return Observed(hindsight, unseen, len(rows), int(seen.sum()), measured, len(told), int(told["in_sample"].sum()))


def _judged(rule: Rule, rows: pl.DataFrame, *truths: np.ndarray) -> list[Judgement]:
    """What the rule makes of rows with values, against each of several truths."""
    if rows.is_empty():
        return [Judgement(0, np.empty(0), 0, 0) for _ in truths]
    first = first_rows(rows)
    found = rule.found(state_probabilities(rows["p_filtered"]), first)
    return [judged(rule, found, truth, first) for truth in truths]


def _labelled(rows: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The rows of series that have a known state anywhere, with it; in their order, which late rows leave as it is."""
    known = labels.with_columns(pl.col(KNOWN).cast(pl.Int64))
    series = known.filter(pl.col(KNOWN).is_not_null())["series_id"].unique().implode()
    joined = rows.join(known, on=["series_id", "time"], maintain_order="left")
    return joined.filter(pl.col("series_id").is_in(series))


def _simulated(bundle: Bundle, rule: Rule, validated: Validated, settings: Settings) -> Iterator[Judgement]:
    units = [*bundle.members][:: -(-len(bundle.members) // _MOST_UNITS)]
    for unit in units:
        member, context = bundle.members[unit], None
        if member.model.uses_context:
            rows = validated.rows if unit == ALL else validated.rows.filter(series_id=unit)
            context = feature_matrix(rows, bundle.scaling.context)
            context = context[~np.isnan(context).any(axis=1)]
            if not len(context):
                continue
        yield of_model(member, rule, _ROWS // len(units), settings.fit.seed, context, _missing(validated, unit))


def _missing(validated: Validated, unit: str) -> float:
    """The share of a unit's rows that have no value."""
    rows = validated.rows if unit == ALL else validated.rows.filter(series_id=unit)
    blank = rows.select(pl.all_horizontal(pl.col(validated.value_columns).is_null()).mean()).item()
    return float(blank or 0.0)


def of_model(
    member: Member, rule: Rule, n_rows: int, seed: int, context: np.ndarray | None = None, missing: float = 0.0
) -> Judgement:
    """What the rule does in rows simulated from a model, a share of which have no value: these it passes over."""
    made = simulated(member.model, n_rows, seed, context)
    seen = np.random.default_rng(seed).random(len(made.X)) >= missing
    shown = np.where(seen.reshape(-1, *[1] * (made.X.ndim - 1)), made.X, np.nan) if missing else made.X
    causal = member.model.filter_proba(shown, made.lengths, context=made.context)
    series = np.repeat(np.arange(len(made.lengths)), made.lengths)[seen]
    first = np.append(True, series[1:] != series[:-1])[: len(series)]
    found = rule.found(by_identity(causal, member.ids)[seen], first)
    return judged(rule, found, np.array(member.ids)[made.states[seen]], first)


def _in_hindsight(parts: Sequence[Observed]) -> RuleStatement:
    """On the rows with values, against their most probable path; on those that the parameters have not seen, where
    these hold ten stays that the rule is to find.
    """
    n_rows = sum(part.n_rows for part in parts)
    if not n_rows:
        return {}
    unseen = together([part.unseen for part in parts])
    if unseen["n_stays"] >= _ENOUGH_STAYS:
        return {"hindsight": unseen, "hindsight_in_sample": 0.0}
    share = sum(part.n_seen for part in parts) / n_rows
    return {"hindsight": together([part.hindsight for part in parts]), "hindsight_in_sample": share}


def _measured(parts: Sequence[Observed]) -> RuleStatement:
    n_labelled = sum(part.n_labelled for part in parts)
    if not n_labelled:
        return {}
    share = sum(part.n_labelled_seen for part in parts) / n_labelled
    return {"measured": together([part.measured for part in parts if part.n_labelled]), "in_sample": share}
