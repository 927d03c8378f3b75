"""Inputs that move further at once than they ever did: a split that nobody adjusted for, another unit."""

from __future__ import annotations

from datetime import datetime

import polars as pl

_FEWEST = 20  # moves that a series must have made before one can be called unheard of
_MOST_COME_BACK = 0.1  # of the values after a move that stays, the share within reach of those before it
_JUMP = {"series_id": pl.String(), "feature": pl.String(), "time": pl.Datetime("us", "UTC"), "times": pl.Float64()}


def jumps(rows: pl.DataFrame, features: list[str], since: datetime, most: float) -> pl.DataFrame:
    """``series_id``, ``feature``, ``time`` and ``times``: the furthest move after ``since`` of each series and feature,
    where it is more than ``most`` times as far as the furthest until then.

    A move is the distance to the last known value; of values that are all positive, the distance of logarithms if that
    is the more unheard of: a hundredth is then as far as a hundredfold.
    """
    return pl.concat([pl.DataFrame(schema=_JUMP), *(_of_feature(rows, name, since, most) for name in features)])


def lasting_jumps(rows: pl.DataFrame, features: list[str], most: float) -> pl.DataFrame:
    """``series_id``, ``feature``, ``time`` and ``times``: of each series and feature the furthest move among all
    ``rows`` that is more than ``most`` times as far as the furthest before it, and after which hardly a value comes
    back to within reach of those before: as far beyond them as they are apart.

    Read from the newest row to the oldest as well, so that what is a hundredth from some row on is found like what is
    a hundredfold.
    """
    told = [pl.DataFrame(schema=_JUMP)]
    for feature in features:
        known = rows.select("series_id", "time", pl.col(feature).cast(pl.Float64).alias("x")).drop_nulls("x")
        positive = known.filter((pl.col("x").min() > 0).over("series_id")).with_columns(pl.col("x").log())
        for values in (known, positive):
            told += [_stays(values, feature, most, "time"), _stays(values.reverse(), feature, most, "read_before")]
    return pl.concat(told).sort("times", descending=True).unique(["series_id", "feature"], keep="first")


def _stays(values: pl.DataFrame, feature: str, most: float, since: str) -> pl.DataFrame:
    """The same of values in the order of these rows; the row of each that ``since`` names has the time of the move."""
    moves = values.with_columns(
        pl.col("time").shift().over("series_id").alias("read_before"),
        pl.int_range(pl.len()).over("series_id").alias("n"),
        (pl.col("x").diff().abs() / pl.col("x").diff().abs().cum_max().shift()).over("series_id").alias("times"),
    )
    unheard = moves.filter(pl.col("n") > _FEWEST, pl.col("times").is_finite(), pl.col("times") > most)
    at = unheard.sort("times", descending=True).unique("series_id", keep="first")
    parts = moves.join(at.select("series_id", "times", pl.col("n").alias("at"), move=since), on="series_id")
    before, after = pl.col("x").filter(pl.col("n") < pl.col("at")), pl.col("x").filter(pl.col("n") >= pl.col("at"))
    reach = before.max() - before.min()
    judged = parts.group_by("series_id").agg(
        ((after >= before.min() - reach) & (after <= before.max() + reach)).mean().alias("back"),
        after.len().alias("n_after"),
        pl.col("move").first().alias("time"),
        pl.col("times_right").first().alias("times"),
    )
    stays = judged.filter(pl.col("back") <= _MOST_COME_BACK, pl.col("n_after") >= _FEWEST)
    return stays.select("series_id", pl.lit(feature).alias("feature"), "time", "times")


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
