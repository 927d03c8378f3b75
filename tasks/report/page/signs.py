"""Where every series stands at its newest row, and what is unusual in that; no rule for alerts has a part in it."""

from __future__ import annotations

import polars as pl

LIKELY = 0.5
SURPRISE_QUANTILE = 0.01
_FEWEST_DENSITIES = 100
KINDS = {"changed": "state changed", "ending": "change likely", "surprising": "surprise"}


def newest_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series, those with signs first: its newest row and what is unusual in it."""
    return marked(standing_of(rows))


def standing_of(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series, in their order: its newest row and what it is compared with.

    ``previous`` is the state of the row before; ``floor`` the 1 % quantile of the log densities before, null where
    fewer than 100 are known; ``held_at`` the newest ``as_of`` at which an older model made a row.
    """
    earlier = pl.col("log_density").slice(0, pl.len() - 1).drop_nulls()
    return rows.group_by("series_id", maintain_order=True).agg(
        pl.col("time", "as_of", "state", "status", "elapsed_mean", "remaining_p50", "p_change_5", "log_density").last(),
        pl.col("p_filtered").last().list.max().alias("certainty"),
        pl.col("state").slice(0, pl.len() - 1).drop_nulls().last().alias("previous"),
        pl.when(earlier.len() >= _FEWEST_DENSITIES).then(earlier.quantile(SURPRISE_QUANTILE)).alias("floor"),
        pl.col("as_of").filter(pl.col("status") == "HELD").max().alias("held_at"),
    )


def marked(newest: pl.DataFrame) -> pl.DataFrame:
    """What is unusual in the newest row of each series, those with signs first.

    ``changed``, ``ending`` (P(change within 5 steps) above one half) and ``surprising`` (log density below ``floor``)
    hold only for rows of the newest ``as_of``: the others are old news.
    """
    fresh = pl.col("as_of") == pl.col("as_of").max()
    flags = {
        "changed": pl.col("state") != pl.col("previous"),
        "ending": pl.col("p_change_5") > LIKELY,
        "surprising": pl.col("log_density") < pl.col("floor"),
    }
    found = newest.with_columns((fresh & flag).fill_null(value=False).alias(kind) for kind, flag in flags.items())
    order = pl.sum_horizontal(pl.col(list(KINDS)).cast(pl.Int8))
    return found.with_columns(order.alias("n_signs")).sort("n_signs", descending=True, maintain_order=True)
