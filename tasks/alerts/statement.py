"""What the rule for states is to be expected to do, said before it is used."""

from __future__ import annotations

from collections.abc import Iterator

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


def stated(bundle: Bundle, decoded: pl.DataFrame, validated: Validated, settings: Settings) -> RuleStatement:
    """Delay and false alarms of the configuration's rule under the models in force, and on known states.

    Simulated are 20,000 rows, of at most twenty models where each series has its own; as many have no value as in the
    data. That takes the model as true: beside it stands what the rule does on the data's own rows, against the path in
    hindsight. What is counted is every alert, before ``alerts.most`` of them are told.
    """
    rule = rule_for(settings)
    parts = [*_simulated(bundle, rule, validated, settings)]
    said: RuleStatement = {"simulated": together(parts)} if parts else {}
    said |= _in_hindsight(rule, decoded)
    if KNOWN in validated.rows.columns:
        said |= _measured(rule, decoded, validated)
    return said


stated_task = task(name="rule", cache_policy=NO_CACHE)(stated)


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


def _in_hindsight(rule: Rule, decoded: pl.DataFrame) -> RuleStatement:
    """On the rows with values, against their most probable path; on those that the parameters have not seen, where
    these hold ten stays that the rule is to find.
    """
    rows = decoded.filter(~pl.col("status").is_in(WITHOUT_VALUE))
    if rows.is_empty():
        return {}
    first = first_rows(rows)
    found = rule.found(state_probabilities(rows["p_filtered"]), first)
    path, seen = rows["viterbi"].cast(pl.Int64).fill_null(UNKNOWN).to_numpy(), rows["in_sample"].to_numpy()
    unseen = together([judged(rule, found, np.where(seen, UNKNOWN, path), first)])
    if unseen["n_stays"] >= _ENOUGH_STAYS:
        return {"hindsight": unseen, "hindsight_in_sample": 0.0}
    return {"hindsight": together([judged(rule, found, path, first)]), "hindsight_in_sample": float(seen.mean())}


def _measured(rule: Rule, decoded: pl.DataFrame, validated: Validated) -> RuleStatement:
    """On the rows with values of series that have a known state anywhere; in their order, which late rows do not change
    here.
    """
    known = validated.rows.select("series_id", "time", pl.col(KNOWN).cast(pl.Int64))
    rows = decoded.join(known, on=["series_id", "time"], maintain_order="left").filter(
        pl.col(KNOWN).is_not_null().any().over("series_id"), ~pl.col("status").is_in(WITHOUT_VALUE)
    )
    labelled = rows.filter(pl.col(KNOWN).is_not_null())
    if labelled.is_empty():
        return {}
    first = first_rows(rows)
    found = rule.found(state_probabilities(rows["p_filtered"]), first)
    truth = rows[KNOWN].fill_null(UNKNOWN).to_numpy()
    share = labelled["in_sample"].cast(pl.Float64).mean()
    return {"measured": together([judged(rule, found, truth, first)]), "in_sample": float(share)}  # type: ignore[arg-type]
