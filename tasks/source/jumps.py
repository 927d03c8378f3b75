"""Inputs that move further at once than they ever did: a split that nobody adjusted for, another unit."""

from __future__ import annotations

from datetime import datetime

import polars as pl

_FEWEST = 20  # moves that a series must have made before one can be called unheard of
_JUMP = {"series_id": pl.String(), "feature": pl.String(), "time": pl.Datetime("us", "UTC"), "times": pl.Float64()}


def jumps(rows: pl.DataFrame, features: list[str], since: datetime, most: float) -> pl.DataFrame:
    """``series_id``, ``feature``, ``time`` and ``times``: the furthest move after ``since`` of each series and feature,
    where it is more than ``most`` times as far as the furthest until then.

    A move is the distance to the last known value; of values that are all positive, the distance of logarithms if that
    is the more unheard of: a hundredth is then as far as a hundredfold.
    """
    return pl.concat([pl.DataFrame(schema=_JUMP), *(_of_feature(rows, name, since, most) for name in features)])


def _of_feature(rows: pl.DataFrame, feature: str, since: datetime, most: float) -> pl.DataFrame:
    is_new = pl.col("time") > since
    known = rows.select("series_id", "time", pl.col(feature).cast(pl.Float64).alias("x")).drop_nulls("x")
    positive = (pl.col("x").min() > 0).over("series_id")
    moves = known.with_columns(
        pl.col("x").diff().abs().over("series_id").alias("plain"),
        pl.when(positive).then(pl.col("x").log()).diff().abs().over("series_id").alias("log"),
    )
    told = [
        moves.group_by("series_id", maintain_order=True)
        .agg(
            pl.col(move).filter(~is_new).max().alias("before"),
            pl.col(move).filter(~is_new).count().alias("n"),
            pl.col(move).filter(is_new).max().alias("now"),
            pl.col("time").filter(is_new).get(pl.col(move).filter(is_new).arg_max(), null_on_oob=True),
        )
        .filter(pl.col("n") >= _FEWEST, pl.col("before") > 0, pl.col("now") > most * pl.col("before"))
        .select(
            "series_id", pl.lit(feature).alias("feature"), "time", (pl.col("now") / pl.col("before")).alias("times")
        )
        for move in ("plain", "log")
    ]
    return pl.concat(told).sort("times", descending=True).unique("series_id", keep="first", maintain_order=True)
