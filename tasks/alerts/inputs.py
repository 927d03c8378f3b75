"""Whether a series' newest rows are what its rows have been: level, spread and missing values of each feature."""

from __future__ import annotations

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.sections.alerts import Drift
from tasks.config.settings import Settings
from tasks.source.validate import Validated
from tasks.tables.findings import append_drift

_FEWEST_WINDOWS = 4
_LOW, _HIGH = 0.05, 0.95


def note_drift(validated: Validated, settings: Settings, key: str) -> None:
    """Note before anything is fitted which inputs are no longer what they were; nothing where none is."""
    if "drift" not in settings.alerts.also or validated.rows.is_empty():
        return
    found = drifted(validated.rows, validated.value_columns, settings.alerts.drift)
    noted = found.with_columns(as_of=pl.lit(validated.as_of), model_name=pl.lit(settings.name), run_key=pl.lit(key))
    append_drift(settings.output.states, noted, key)


note_drift_task = task(name="inputs", cache_policy=NO_CACHE)(note_drift)


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
        *(pl.col(name).last().alias(name) for name in ("level", "spread", "missing")),
        *(pl.col(name).filter(before).min().alias(f"least_{name}") for name in ("level", "spread")),
        *(pl.col(name).filter(before).max().alias(f"most_{name}") for name in ("level", "spread", "missing")),
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
