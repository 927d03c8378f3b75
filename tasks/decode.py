"""The state of every series at every time: filtered, smoothed, elapsed, remaining, surprise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.columns import STATE_COLUMNS
from tasks.fit import Fitted, series_lengths
from tasks.progress import say
from tasks.validate import Validated

HORIZONS = (1, 5, 20)
QUANTILES = {"remaining_p10": 0.1, "remaining_p50": 0.5, "remaining_p90": 0.9}
_MOST_CELLS = 20_000_000
_NEGLIGIBLE = 1e-6
_LONGEST = 4096


def decode(
    fitted: Fitted, validated: Validated, *, name: str, version: int, key: str, state_names: Mapping[int, str]
) -> pl.DataFrame:
    """The state table's rows for every validated row, sorted by series and time."""
    parts: list[pl.DataFrame] = []
    n_series = validated.rows["series_id"].n_unique()
    longest = resolved_steps(fitted.best.max_duration, fitted.best.tail_prob_)
    for part in _series_batches(validated.rows, longest):
        say("decode", sum(p["series_id"].n_unique() for p in parts), n_series)
        parts.append(_decode_rows(fitted, part, longest))
    labels = {state: state_names.get(state, default_name(state)) for state in range(fitted.best.n_states)}
    missing = pl.all_horizontal(pl.col(validated.value_columns).is_null())
    return (
        pl.concat(parts)
        .with_columns(
            pl.lit(validated.as_of).alias("as_of"),
            pl.col("state").replace_strict(labels, return_dtype=pl.String).alias("state_name"),
            pl.when(missing).then(None).otherwise(pl.col("log_density")).alias("log_density"),
            (pl.col("time") <= fitted.train_end).alias("in_sample"),
            pl.when(missing).then(pl.lit("MISSING")).otherwise(pl.lit("OK")).alias("status"),
            pl.when("gap").then(pl.lit("gap")).when(missing).then(pl.lit("no_value")).alias("reason"),
            pl.lit(name).alias("model_name"),
            pl.lit(version, pl.Int32).alias("model_version"),
            pl.lit(key).alias("run_key"),
            pl.lit(fitted.train_start).alias("train_start"),
            pl.lit(fitted.train_end).alias("train_end"),
        )
        .select(*STATE_COLUMNS)
    )


decode_task = task(name="decode", cache_policy=NO_CACHE)(decode)


def default_name(state: int) -> str:
    """What a state is called until someone names it."""
    return f"state {state}"


def _series_batches(rows: pl.DataFrame, max_duration: int) -> Iterator[pl.DataFrame]:
    """Whole series, as many at once as keep the tables of durations small."""
    start = taken = 0
    for length in series_lengths(rows):
        if taken and (taken + length) * max_duration > _MOST_CELLS:
            yield rows[start : start + taken]
            start, taken = start + taken, 0
        taken += length
    yield rows[start : start + taken]


def resolved_steps(max_duration: int, tail_prob: np.ndarray | None) -> int:
    """Steps to tell apart so that what lies beyond is negligible, within reason; without a tail nothing does."""
    if tail_prob is None:
        return max_duration
    decay = min(float(tail_prob.max()), 1.0 - _NEGLIGIBLE)
    beyond = math.log(_NEGLIGIBLE) / math.log(decay) if decay > 0.0 else 0.0
    return min(max(max_duration + math.ceil(beyond), HORIZONS[-1] + 1), max(_LONGEST, max_duration))


def _decode_rows(fitted: Fitted, rows: pl.DataFrame, longest: int) -> pl.DataFrame:
    model, lengths = fitted.best, series_lengths(rows)
    values = fitted.scaling.apply(rows)
    filtered = model.filter_proba(values, lengths)
    remaining = model.remaining_duration(values, lengths, max_duration=longest)
    return rows.with_columns(
        pl.Series("state", filtered.argmax(axis=1).astype(np.int16)),
        pl.Series("p_filtered", filtered).arr.to_list(),
        pl.Series("p_smoothed", model.predict_proba(values, lengths)).arr.to_list(),
        pl.Series("viterbi", model.predict(values, lengths).astype(np.int16)),
        pl.Series("elapsed_mean", mean_steps(model.elapsed_duration(values, lengths, max_duration=longest))),
        *remaining_columns(remaining),
        pl.Series("log_density", model.log_density(values, lengths) - fitted.scaling.log_volume(rows)),
    )


def mean_steps(steps: np.ndarray) -> np.ndarray:
    """Σ r P(r) over the columns r = 1..D of (n_rows, D)."""
    return steps @ np.arange(1.0, steps.shape[1] + 1)


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
