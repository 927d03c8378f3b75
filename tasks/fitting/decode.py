"""The state of every series at every time: filtered, smoothed, elapsed, remaining, surprise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

from hsmm import HSMM, Estimator
from hsmm.components.emission import Additive
from hsmm.numerics import ordered_sum
from hsmm.sequences import Sequences
from tasks.config.columns import STATE_COLUMNS
from tasks.config.progress import say
from tasks.fitting.bundle import ALL, Bundle, Member
from tasks.fitting.lasting import lasting
from tasks.fitting.scaling import Scaling, series_lengths
from tasks.source.validate import Validated

Decoded: TypeAlias = pl.DataFrame
"""Rows of the state table."""
HORIZONS = (1, 5, 20)
QUANTILES = {"remaining_p10": 0.1, "remaining_p50": 0.5, "remaining_p90": 0.9}
_MOST_CELLS = 20_000_000
_NEGLIGIBLE = 1e-6
_LONGEST = 4096


def decode(
    bundle: Bundle,
    validated: Validated,
    *,
    name: str,
    version: int,
    key: str,
    state_names: Mapping[int, str],
    held: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """The state table's rows of every series that the bundle has a model and a scale for, by series and time.

    ``version`` made the rows of members that have no version of their own; ``held`` says by unit why an older model
    is still in force.
    """
    held, parts, labels = held or {}, list[pl.DataFrame](), dict(state_names)
    rows = decodable(bundle, validated.rows)
    n_series = rows["series_id"].n_unique()
    done = 0
    for unit, own in by_unit(bundle, rows).items():
        member = bundle.members[unit]
        labels = {**_default_names(member), **labels}
        wide = lasting(member.model)
        longest = max(resolved_steps(*dwell(model)) for model in (member.model, wide))
        for part in _series_batches(own, longest):
            say("decode", done, n_series)
            done += part["series_id"].n_unique()
            made = version if member.version is None else member.version
            parts.append(_decode_rows(member, wide, bundle.scaling, part, made, _reasons(part, unit, held)))
    return (
        pl.concat(parts)
        .with_columns(
            pl.lit(validated.as_of).alias("as_of"),
            pl.col("state").replace_strict(labels, return_dtype=pl.String).alias("state_name"),
            pl.lit(name).alias("model_name"),
            pl.lit(key).alias("run_key"),
        )
        .sort("series_id", "time", maintain_order=True)
        .select(*STATE_COLUMNS)
    )


decode_task = task(name="decode", cache_policy=NO_CACHE)(decode)


def decodable(bundle: Bundle, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of series that the bundle knows."""
    if ALL in bundle.members:
        return rows.filter(bundle.scaling.knows())
    own = pl.Series([*bundle.members], dtype=pl.String)
    return rows.filter(bundle.scaling.knows() & pl.col("series_id").is_in(own.implode()))


def by_unit(bundle: Bundle, rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The rows of each unit that has a model and rows, in the order of the rows.

    The model of all serves the series that have none of their own.
    """
    own = pl.Series([unit for unit in bundle.members if unit != ALL], dtype=pl.String).implode()
    unit = pl.when(pl.col("series_id").is_in(own)).then("series_id").otherwise(pl.lit(ALL)).alias("unit")
    parts = {str(name): part for (name,), part in rows.group_by(unit, maintain_order=True)}
    return {name: part for name, part in parts.items() if name in bundle.members}


def _reasons(rows: pl.DataFrame, unit: str, held: Mapping[str, str]) -> dict[str, str]:
    """By series why this unit's older model is still in force; of a held fit of all, every series'."""
    why = {series: held.get(series, held.get(unit, held.get(ALL))) for series in rows["series_id"].unique()}
    return {series: reason for series, reason in why.items() if reason is not None}


def default_name(state: int) -> str:
    """What a state is called until someone names it."""
    return f"state {state}"


def _default_names(member: Member) -> dict[int, str]:
    """By persistent id; of chains side by side with the state of each, as in "state 2 (1, 0)"."""
    law = member.model.emission_
    if not isinstance(law, Additive):
        return {identity: default_name(identity) for identity in member.ids}
    together = zip(member.ids, law.chain_states().tolist(), strict=True)
    return {identity: f"{default_name(identity)} ({', '.join(map(str, states))})" for identity, states in together}


def _series_batches(rows: pl.DataFrame, max_duration: int) -> Iterator[pl.DataFrame]:
    """Whole series, as many at once as keep the tables of durations small."""
    start = taken = 0
    for length in series_lengths(rows):
        if taken and (taken + length) * max_duration > _MOST_CELLS:
            yield rows[start : start + taken]
            start, taken = start + taken, 0
        taken += length
    yield rows[start : start + taken]


def dwell(model: Estimator) -> tuple[int, np.ndarray | None]:
    """How many steps the model tells apart, and (K,) P(one more step beyond them); an HMM's every step is like that."""
    if isinstance(model, HSMM):
        return model.max_duration_, model.tail_prob_
    return 1, model.transition_prob_.diagonal()


def resolved_steps(max_duration: int, tail_prob: np.ndarray | None) -> int:
    """Steps to tell apart so that what lies beyond is negligible, within reason; without a tail nothing does."""
    if tail_prob is None:
        return max_duration
    decay = min(float(tail_prob.max()), 1.0 - _NEGLIGIBLE)
    beyond = math.log(_NEGLIGIBLE) / math.log(decay) if decay > 0.0 else 0.0
    return min(max(max_duration + math.ceil(beyond), HORIZONS[-1] + 1), max(_LONGEST, max_duration))


def _decode_rows(
    member: Member, wide: Estimator, scaling: Scaling, rows: pl.DataFrame, version: int, held: Mapping[str, str]
) -> pl.DataFrame:
    """``wide`` says how long states will last, the member's model all else."""
    model, far = member.model, scaling.far(rows)
    seen = scaling.seen(rows, far)
    given = scaling.given_seen(seen, model)
    ids, packed = np.array(member.ids, dtype=np.int16), _packed(given)
    known = model.decode(**given, max_duration=resolved_steps(*dwell(model)))
    remaining = known.remaining_duration
    if wide is not model:
        remaining = wide.remaining_duration(**given, max_duration=resolved_steps(*dwell(wide)))
    why = pl.col("series_id").replace_strict(dict(held), default=None, return_dtype=pl.String)
    told = _told_of(rows, seen, far, scaling)
    return rows.with_columns(
        pl.Series("state", ids[known.filter_proba.argmax(axis=1)]),
        pl.Series("p_filtered", by_identity(known.filter_proba, member.ids)).arr.to_list(),
        pl.Series("p_smoothed", by_identity(model.smooth_sequences(packed).numpy(), member.ids)).arr.to_list(),
        pl.Series("viterbi", ids[model.decode_sequences(packed).numpy()]),
        pl.Series("elapsed_mean", mean_steps(known.elapsed_duration)),
        *remaining_columns(remaining),
        pl.Series("log_density", known.log_density - scaling.log_volume(seen)),
        **told,
    ).with_columns(
        pl.when("far")
        .then(_surprise(member, scaling, rows, given) if told["far"].any() else None)
        .when(~pl.col("unknown"))
        .then("log_density")
        .alias("log_density"),
        (pl.col("time") <= member.train_end).alias("in_sample"),
        pl.when(pl.col("unknown") & pl.col("stale"))
        .then(pl.lit("STALE"))
        .when("unknown")
        .then(pl.lit("MISSING"))
        .when(why.is_null())
        .then(pl.lit("OK"))
        .otherwise(pl.lit("HELD"))
        .alias("status"),
        pl.when("far")
        .then(pl.lit("wild_value"))
        .when("beside")
        .then(pl.lit("wild_context"))
        .when(pl.col("unknown") & pl.col("stale"))
        .then(pl.lit("no_value_for_long"))
        .when("gap")
        .then(pl.lit("gap"))
        .when("unknown")
        .then(pl.lit("no_value"))
        .otherwise(why)
        .alias("reason"),
        pl.lit(version, pl.Int32).alias("model_version"),
        pl.lit(member.train_start).alias("train_start"),
        pl.lit(member.train_end).alias("train_end"),
    )


def _packed(given: Mapping[str, Any]) -> Sequences:
    return Sequences.from_arrays(given["X"], given["lengths"], given["context"], may_be_missing=True)


def _told_of(rows: pl.DataFrame, seen: pl.DataFrame, far: pl.DataFrame, scaling: Scaling) -> dict[str, pl.Series]:
    """Which rows have no value that is evidence (``unknown``), which one that is too ``far`` to be, and which would
    have values but for what stands ``beside`` them in the context.
    """
    blank = pl.all_horizontal(pl.col(scaling.columns).is_null())
    unknown, empty = (part.select(blank).to_series() for part in (seen, rows))
    none = pl.repeat(value=False, n=pl.len())
    is_far, is_beside = (
        far.select(pl.any_horizontal(none, *names)).to_series() for names in (scaling.columns, scaling.context)
    )
    return {"unknown": unknown, "far": is_far, "beside": is_beside & ~empty & ~is_far}


def _surprise(member: Member, scaling: Scaling, rows: pl.DataFrame, given: Mapping[str, Any]) -> pl.Series:
    """(n_rows,) log p(row | what is evidence of the rows before it), in the features' own units, of the values as they
    came.
    """
    as_they_came = _packed({**given, "X": scaling.standardised(rows)})
    surprise = member.model.log_density_given(as_they_came, _packed(given))
    return pl.Series(surprise.numpy() - scaling.log_volume(rows))


def by_identity(probabilities: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """(n_rows, largest id + 1) probabilities of states (n_rows, n_states) by persistent id; 0 for ids of the dead."""
    spread = np.zeros((len(probabilities), max(ids) + 1))
    spread[:, list(ids)] = probabilities
    return spread


def mean_steps(steps: np.ndarray) -> np.ndarray:
    """Σ r P(r) over the columns r = 1..D of (n_rows, D); a row's bits are the same in any number of rows."""
    return ordered_sum(torch.from_numpy(steps * np.arange(1.0, steps.shape[1] + 1))).numpy()


def remaining_columns(remaining: np.ndarray) -> list[pl.Series]:
    """Mean, quantiles and P(r ≤ h) of the steps left, from P(r) (n_rows, D)."""
    cumulative = np.minimum(remaining.cumsum(axis=1), 1.0)
    longest = remaining.shape[1]
    quantiles = [
        pl.Series(name, np.minimum((cumulative < level).sum(axis=1) + 1.0, longest))
        for name, level in QUANTILES.items()
    ]
    changes = [pl.Series(f"p_change_{horizon}", cumulative[:, min(horizon, longest) - 1]) for horizon in HORIZONS]
    return [pl.Series("remaining_mean", mean_steps(remaining)), *quantiles, *changes]
