"""A few of the rows that a run has read, of every series: by them a later run knows whether its source is the same."""

from __future__ import annotations

import polars as pl

from tasks.source.validate import Validated

FEWEST = 8
"""Values of a feature by which a series can be told to be another."""
_ROWS, _FEATURES = 12, 4
_DIGITS = 7
_CLOSE, _EXACT = 0.1, 1e-6
_HALF = 0.5
_LINEAR = 1e-4  # of the spread, by which values in another unit may leave the line that they lie on
_CELL = ["series_id", "time", "feature"]


def sampled(validated: Validated) -> pl.DataFrame:
    """``series_id``, ``time``, ``feature``, ``value`` of rows of each series, evenly from the first to the last.

    At most twelve rows and four features, so that what is kept is bounded by the number of series.
    """
    place, n = pl.int_range(pl.len()).over("series_id"), pl.len().over("series_id")
    step = (n - 1) / (_ROWS - 1)
    nearest = ((place / step).round() * step).round()
    valued = validated.rows.filter(pl.col("age") == 0).filter((n <= _ROWS) | (nearest == place))
    rounded = _cells(valued, validated).with_columns(pl.col("value").round_sig_figs(_DIGITS))
    return rounded.drop_nulls("value").sort(_CELL)


def compared(sample: pl.DataFrame, validated: Validated) -> pl.DataFrame:
    """Of each series of a sample that the source has: ``n``, how many values of a feature could be compared at most;
    ``is_other``, whether its rows are not those of the sample any more; and then, in ``detail``, which and how.

    A value is the same up to a tenth of the spread of its feature, as it is after a revision; a series is if in
    each of its features half of the values or more are.
    """
    was, now = pl.col("value"), pl.col("now")
    there = validated.rows.join(sample.select("series_id", "time").unique(), on=["series_id", "time"], how="semi")
    cells = sample.join(_cells(there, validated).rename({"value": "now"}), on=_CELL).drop_nulls("now").sort(_CELL)
    spread = (was.quantile(0.75) - was.quantile(0.25)).over("series_id", "feature")
    is_other = (now - was).abs() > _CLOSE * spread + _EXACT * was.abs()
    slope, level = pl.cov(was, now) / was.var(), pl.col("now").mean() - pl.cov(was, now) / was.var() * was.mean()
    return (
        cells.with_columns(is_other.alias("is_other"))
        .group_by("series_id", "feature", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("is_other").sum().alias("n_other"),
            pl.col("time", "now", "value").filter("is_other").first(),
            slope.alias("slope"),
            level.alias("level"),
            ((now - slope * was - level).abs().max() <= _LINEAR * (now.max() - now.min())).alias("is_line"),
        )
        .with_columns(((pl.col("n_other") > _HALF * pl.col("n")) & (pl.col("n") >= FEWEST)).alias("is_other"))
        .with_columns(_in_words().alias("detail"))
        .sort("series_id", "is_other", descending=[False, True], maintain_order=True)
        .group_by("series_id", maintain_order=True)
        .agg(
            pl.col("n").max(),
            pl.col("is_other").any(),
            pl.col("detail").first(),
        )
    )


def of_other_series(sample: pl.DataFrame, validated: Validated, others: pl.Series) -> pl.DataFrame:
    """Those of the ``others`` (series_id, detail) that have the very values that were another series'."""
    telling = sample.filter((pl.col("value").n_unique() >= FEWEST).over("series_id", "feature"))
    now = _cells(validated.rows.filter(pl.col("series_id").is_in(others.implode())), validated)
    same = now.with_columns(pl.col("value").round_sig_figs(_DIGITS)).join(telling, on=["time", "feature", "value"])
    found = same.group_by("series_id", "series_id_right").len("n").filter(pl.col("n") >= FEWEST)
    first = found.sort("series_id", "n", "series_id_right", descending=[False, True, False]).unique(
        "series_id", keep="first", maintain_order=True
    )
    detail = pl.format("its rows are those that were published as {}", "series_id_right")
    return first.select("series_id", detail.alias("detail"))


def renewed(sample: pl.DataFrame, validated: Validated) -> pl.DataFrame:
    """The sample with rows of the series that it has none of, or few that the source still has or most of whose rows
    came since; and of those that are others by now.
    """
    seen = compared(sample, validated)
    until = sample.group_by("series_id").agg(pl.col("time").max().alias("until"))
    grown = (
        validated.rows.join(until, on="series_id")
        .group_by("series_id")
        .agg((pl.col("time") > pl.col("until")).mean().alias("share"))
        .filter(pl.col("share") > _HALF)
    )
    as_they_are = seen.filter(~pl.col("is_other"), pl.col("n") >= FEWEST).join(grown, on="series_id", how="anti")
    fresh = sampled(validated).join(as_they_are, on="series_id", how="anti")
    telling = fresh.filter((pl.len() >= FEWEST).over("series_id", "feature"))
    kept = sample.join(telling, on="series_id", how="anti")
    return pl.concat([kept, telling]).sort(_CELL)


def _in_words() -> pl.Expr:
    """What became of a feature's values; and, where they lie on a line, by which they may be in another unit."""
    number = [pl.col(name).round_sig_figs(_DIGITS) for name in ("now", "value")]
    moment = pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    cell = pl.format("{} is {} at {} and was {}", "feature", number[0], moment, number[1])
    told = pl.format("{}, and so in {} of {} rows", cell, "n_other", "n")
    times, more = (pl.col(name).round_sig_figs(4).cast(pl.String).str.strip_suffix(".0") for name in ("slope", "level"))
    is_shifted = pl.col("level").abs() > _CLOSE * (pl.col("now") - pl.col("value")).abs()
    line = pl.format(
        ": {} times what it was{}", times, pl.when(is_shifted).then(pl.format(", and {}", more)).otherwise(pl.lit(""))
    )
    is_line = pl.col("is_line") & (pl.col("slope").abs() > _EXACT) & (pl.col("n") >= FEWEST)
    return pl.concat_str(told, pl.when(is_line).then(line).otherwise(pl.lit("")))


def _cells(rows: pl.DataFrame, validated: Validated) -> pl.DataFrame:
    features = sorted(validated.value_columns)[:_FEATURES]
    numbers = rows.select("series_id", "time", pl.col(features).cast(pl.Float64))
    return numbers.unpivot(index=["series_id", "time"], variable_name="feature", value_name="value")
