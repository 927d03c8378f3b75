"""Whether a series' newest rows are what its rows have been: level, spread and missing values of each feature; and
whether all that teach are of one scale.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.outcome import Occasion
from tasks.config.sections.alerts import Drift
from tasks.config.settings import Settings
from tasks.source.jumps import lasting_jumps
from tasks.source.pieces import pieces
from tasks.source.validate import Validated
from tasks.tables.findings import append_drift

_FEWEST_WINDOWS = 4
_LOW, _HIGH = 0.05, 0.95
_LEAST_HELD = 5  # rows for which a value may stay the same, however it moved before
_TIMES_BEFORE = 10
_MOST_TOLD = 20
_FOUND = {
    "series_id": pl.String(),
    "feature": pl.String(),
    "reason": pl.String(),
    "value": pl.Float64(),
    "least": pl.Float64(),
    "most": pl.Float64(),
}
_OF_WINDOWS, _STUCK = ("level", "spread", "missing"), "stuck"
_REASONS = (*_OF_WINDOWS, _STUCK)
_EXPLAINED = _OF_WINDOWS[:2]
_JUMP = "jump at "
_BESIDE_REST = 1e5  # times as far: what stood (almost) still before or after, not what is in another unit


def note_drift(validated: Validated, settings: Settings, key: str, occasion: Occasion) -> list[dict[str, Any]]:
    """Note before anything is fitted which inputs are no longer what they were; the first of them, in words."""
    found = inputs_drifted(validated, settings)
    noted = found.with_columns(as_of=pl.lit(validated.as_of), model_name=pl.lit(settings.name), run_key=pl.lit(key))
    append_drift(settings.output.states, noted, key, occasion)
    return told_drift(found)


note_drift_task = task(name="inputs", cache_policy=NO_CACHE)(note_drift)


def told_drift(found: pl.DataFrame) -> list[dict[str, Any]]:
    """The first of them, in words."""
    return found.select("series_id", "feature", "reason", "value", in_words()).head(_MOST_TOLD).to_dicts()


def inputs_drifted(validated: Validated, settings: Settings) -> pl.DataFrame:
    """What :func:`drifted` and lasting jumps find, these in place of what follows from them."""
    if "drift" not in settings.alerts.also or validated.rows.is_empty():
        return pl.DataFrame(schema=_FOUND)
    features, limits = validated.value_columns, settings.alerts.drift
    jumped, drift = list[pl.DataFrame](), list[pl.DataFrame]()
    for part in pieces(validated.rows):
        rows = _without_silences(part)
        jumped.append(_jumped(rows, features, settings))
        explained = jumped[-1].select("series_id", "feature").join(pl.DataFrame({"reason": _EXPLAINED}), how="cross")
        found = pl.concat([drifted(rows, features, limits), stuck(rows, features, limits)])
        drift.append(found.join(explained, on=["series_id", "feature", "reason"], how="anti", maintain_order="left"))
    in_order = (pl.col("feature").cast(pl.Enum(features)), pl.col("reason").cast(pl.Enum(_REASONS)))
    return pl.concat([*jumped, pl.concat(drift).sort(*in_order, maintain_order=True)])


def _without_silences(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows but those since a series' last value, and of the time for which its feed had ended: that is told."""
    has_value = (pl.col("age") == 0).fill_null(value=False)
    stay = has_value.cum_sum().over("series_id")
    is_silence = pl.col("stale").any().over("series_id", stay) | (stay == stay.last().over("series_id"))
    return rows.filter(has_value | ~is_silence)


def in_words() -> pl.Expr:
    """``detail``: what was found, and what was expected."""
    is_jump, value = pl.col("reason").str.starts_with(_JUMP), pl.col("value").round_sig_figs(4)
    times = pl.col("value").round_sig_figs(3).cast(pl.String).str.strip_suffix(".0")
    hardly = pl.lit("on one side of which it hardly moves")
    jump = pl.format(
        "{} is of another scale or level since {}, {}",
        "feature",
        pl.col("reason").str.strip_prefix(_JUMP),
        pl.when(pl.col("value") > _BESIDE_REST)
        .then(hardly)
        .otherwise(pl.format("when it moved {} times as far as it usually does", times)),
    )
    least, most = (pl.col(name).round_sig_figs(4) for name in ("least", "most"))
    window = pl.format("{} of {} is {}; windows before allow {} to {}", "reason", "feature", value, least, most)
    rows, before = (pl.col(name).cast(pl.Int64) for name in ("value", "most"))
    held = pl.format("{} holds one value for {} rows; before, it did for {} at most", "feature", rows, before)
    is_stuck = pl.col("reason") == _STUCK
    return pl.when(is_jump).then(jump).when(is_stuck).then(held).otherwise(window).alias("detail")


def _jumped(rows: pl.DataFrame, features: list[str], settings: Settings) -> pl.DataFrame:
    """In the form of :func:`drifted`, what rows from the training window on have of another scale than those before;
    ``value`` is how many times as far it moved as ever before.
    """
    most = settings.promote.max_jump
    taught = rows.filter(pl.col("trains").cum_max().over("series_id"))
    return (
        lasting_jumps(taught, features, most)
        .sort("series_id", "feature")
        .select(
            "series_id",
            "feature",
            pl.concat_str(pl.lit(_JUMP), pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).alias("reason"),
            pl.col("times").alias("value"),
            pl.lit(0.0).alias("least"),
            pl.lit(most).alias("most"),
        )
    )


def drifted(rows: pl.DataFrame, features: list[str], limits: Drift) -> pl.DataFrame:
    """``series_id``, ``feature``, ``reason`` (level, spread, missing), ``value``, ``least``, ``most`` of the newest
    window of each series, where the value lies outside of what every window before it allows.

    Windows are of ``limits.window`` rows. A level (the median) may leave those before by ``factor`` times their
    largest spread (from the 5 % to the 95 % quantile); a spread may be ``factor`` times the largest, or a ``factor``-th
    of the smallest; a share of missing values may exceed the largest by ``missing``. A series with fewer than four
    windows before its newest is not judged.
    """
    told = [_of_feature(rows, feature, limits) for feature in features]
    return pl.concat(told)


def stuck(rows: pl.DataFrame, features: list[str], limits: Drift) -> pl.DataFrame:
    """In the form of :func:`drifted`, series whose newest values are one and the same, for ``factor`` times as many
    rows as ever before (``most``), and for more than five; of those that have ten times as many rows before.
    """
    n = pl.col("n")
    found = []
    for feature in features:
        values = rows.select("series_id", value=feature).drop_nulls()
        runs = values.with_columns(run=pl.col("value").rle_id().over("series_id"))
        of_series = (
            runs.group_by("series_id", "run", maintain_order=True)
            .agg(n=pl.len())
            .group_by("series_id", maintain_order=True)
            .agg(held=n.last(), longest=n.head(pl.len() - 1).max(), before=n.head(pl.len() - 1).sum())
        )
        too_long = pl.col("held") > pl.max_horizontal(limits.factor * pl.col("longest"), _LEAST_HELD)
        found.append(
            of_series.filter(too_long, pl.col("before") >= _TIMES_BEFORE * pl.col("held")).select(
                "series_id",
                pl.lit(feature).alias("feature"),
                pl.lit(_STUCK).alias("reason"),
                pl.col("held").cast(pl.Float64).alias("value"),
                pl.lit(0.0).alias("least"),
                pl.col("longest").cast(pl.Float64).alias("most"),
            )
        )
    return pl.concat(found)


def _of_feature(rows: pl.DataFrame, feature: str, limits: Drift) -> pl.DataFrame:
    window, fewest = limits.window, max(2, limits.window // 2)
    x = pl.col(feature).cast(pl.Float64)
    low, middle, high = (
        x.rolling_quantile(q, window_size=window, min_samples=fewest).over("series_id") for q in (_LOW, 0.5, _HIGH)
    )
    missing = x.is_null().cast(pl.Float64).rolling_mean(window).over("series_id")
    windows = rows.select(
        "series_id", middle.alias("level"), (high - low).alias("spread"), missing.alias("missing")
    ).with_columns((pl.len() - 1 - pl.int_range(pl.len())).over("series_id").alias("ago"))
    before = pl.col("ago") >= window
    of_series = windows.group_by("series_id", maintain_order=True).agg(
        pl.len().alias("n_rows"),
        *(pl.col(name).last().alias(name) for name in _OF_WINDOWS),
        *(pl.col(name).filter(before).min().alias(f"least_{name}") for name in _EXPLAINED),
        *(pl.col(name).filter(before).max().alias(f"most_{name}") for name in _OF_WINDOWS),
    )
    reach = limits.factor * pl.col("most_spread")
    allowed = {
        "level": (pl.col("least_level") - reach, pl.col("most_level") + reach),
        "spread": (pl.col("least_spread") / limits.factor, reach),
        "missing": (pl.lit(0.0), pl.col("most_missing") + limits.missing),
    }
    judged = of_series.filter(pl.col("n_rows") >= (_FEWEST_WINDOWS + 1) * window)
    return pl.concat(
        judged.filter((pl.col(reason) < least) | (pl.col(reason) > most)).select(
            "series_id",
            pl.lit(feature).alias("feature"),
            pl.lit(reason).alias("reason"),
            pl.col(reason).alias("value"),
            least.alias("least"),
            most.alias("most"),
        )
        for reason, (least, most) in allowed.items()
    )
