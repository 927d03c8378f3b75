"""Where every series stands at its newest row, and what is unusual in that; no rule for alerts has a part in it."""

from __future__ import annotations

import polars as pl

LIKELY = 0.5
SURPRISE_QUANTILE = 0.01
_FEWEST_DENSITIES = 100
KINDS = {"changed": "state changed", "ending": "change likely", "surprising": "surprise"}
SILENT = {"MISSING": "missing", "STALE": "stale"}
"""The sign of a newest row without values: it has no other."""


def newest_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series, those with signs first: its newest row and what is unusual in it."""
    return marked(standing_of(rows))


def standing_of(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series, in their order: its newest row and what it is compared with.

    ``previous`` is the state of the row before; ``usual`` the median P(change within 5 steps) of the rows before in the
    newest row's state, null where it has none; ``floor`` the 1 % quantile of the log densities before, null where fewer
    than 100 are known; ``held_at`` the newest ``as_of`` at which an older model made a row.
    """
    alike = pl.col("state").slice(0, pl.len() - 1) == pl.col("state").last()
    earlier = pl.col("log_density").slice(0, pl.len() - 1).drop_nulls()
    return rows.group_by("series_id", maintain_order=True).agg(
        pl.col("time", "as_of", "state", "status", "elapsed_mean", "remaining_p50", "p_change_5", "log_density").last(),
        pl.col("p_filtered").last().list.max().alias("certainty"),
        pl.col("state").slice(0, pl.len() - 1).drop_nulls().last().alias("previous"),
        pl.col("p_change_5").slice(0, pl.len() - 1).filter(alike).median().alias("usual"),
        pl.when(earlier.len() >= _FEWEST_DENSITIES).then(earlier.quantile(SURPRISE_QUANTILE)).alias("floor"),
        pl.col("as_of").filter(pl.col("status") == "HELD").max().alias("held_at"),
    )


def marked(newest: pl.DataFrame) -> pl.DataFrame:
    """What is unusual in the newest row of each series, those with signs first.

    ``changed``, ``ending`` (P(change within 5 steps) above one half, in a state where it ``usual``ly is not) and
    ``surprising`` (log density below ``floor``) hold only for rows of the newest ``as_of`` that have values: the others
    are old news, or none.
    """
    fresh = (pl.col("as_of") == pl.col("as_of").max()) & ~pl.col("status").is_in(list(SILENT))
    flags = {
        "changed": pl.col("state") != pl.col("previous"),
        "ending": (pl.col("p_change_5") > LIKELY) & (pl.col("usual") <= LIKELY),
        "surprising": pl.col("log_density") < pl.col("floor"),
    }
    found = newest.with_columns((fresh & flag).fill_null(value=False).alias(kind) for kind, flag in flags.items())
    order = pl.sum_horizontal(pl.col(list(KINDS)).cast(pl.Int8))
    return found.with_columns(order.alias("n_signs")).sort("n_signs", descending=True, maintain_order=True)
