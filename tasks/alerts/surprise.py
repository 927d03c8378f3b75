"""How surprising rows were, against the rows before them that were in the same state."""

from __future__ import annotations

import numpy as np
import polars as pl

_CALIBRATION = 250
_FEWEST = 50
_ROWS_AT_ONCE = 4096
_VARIANCE = 1 / 12  # of a rank that may be anything from 0 to 1


def with_surprise(rows: pl.DataFrame, window: int) -> pl.DataFrame:
    """The rows that can be ranked, with ``surprise``: standard errors by which the mean rank of the newest ``window``
    of them exceeds one half; 0 before there are so many.

    A row's rank is the share of the 250 rows before it, of its series and state, whose log density is higher: as
    expected it is uniform, whatever the states' own spreads. Rows with fewer than 50 before them are left out.
    """
    ranked = rows.filter(pl.col("log_density").is_not_null()).with_columns(
        (-pl.col("log_density")).map_batches(_ranks, return_dtype=pl.Float64).over("series_id", "state").alias("rank")
    )
    mean = pl.col("rank").rolling_mean(window).over("series_id")
    excess = (mean - 0.5) / np.sqrt(_VARIANCE / window)
    return ranked.filter(pl.col("rank").is_not_nan()).with_columns(excess.fill_null(0.0).alias("surprise"))


def _ranks(values: pl.Series) -> pl.Series:
    """The share of the values before each that are smaller, equal ones counted half; NaN where too few are before."""
    own = values.to_numpy()
    padded = np.concatenate([np.full(_CALIBRATION, np.nan), own])
    windows = np.lib.stride_tricks.sliding_window_view(padded, _CALIBRATION)[: len(own)]
    parts = [_share_below(windows[at : at + _ROWS_AT_ONCE], own[at : at + _ROWS_AT_ONCE]) for at in _starts(len(own))]
    return pl.Series(np.concatenate([np.empty(0), *parts]))


def _starts(n_rows: int) -> range:
    return range(0, n_rows, _ROWS_AT_ONCE)


def _share_below(windows: np.ndarray, own: np.ndarray) -> np.ndarray:
    n_before = (~np.isnan(windows)).sum(axis=1)
    below = (windows < own[:, None]).sum(axis=1) + 0.5 * (windows == own[:, None]).sum(axis=1)
    return np.where(n_before >= _FEWEST, below / np.maximum(n_before, 1), np.nan)
