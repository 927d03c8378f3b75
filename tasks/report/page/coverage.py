"""What of every series is missing."""

from __future__ import annotations

import polars as pl

from tasks.config.columns import WILD, WITHOUT_VALUE


def coverage(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series as :func:`covered` gives it, the least complete first."""
    return least_first(covered(rows))


def least_first(found: pl.DataFrame) -> pl.DataFrame:
    """The least complete series first."""
    return found.sort(pl.col("n_missing") / pl.col("n_rows"), descending=True, maintain_order=True)


def covered(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series, in their order.

    series_id, first, last, n_rows, n_missing, of which n_gaps (steps that the source lacks), n_stale (after its feed
    had ended) and n_without_evidence (all that they have is wild), n_wild (a value of theirs is), n_held, longest
    (missing rows in succession).
    """
    missing, is_wild = pl.col("status").is_in(WITHOUT_VALUE), pl.col("reason").is_in(WILD)
    stretches = missing.rle()
    longest = stretches.struct.field("len").filter(stretches.struct.field("value")).max().fill_null(0)
    return rows.group_by("series_id", maintain_order=True).agg(
        pl.col("time").first().alias("first"),
        pl.col("time").last().alias("last"),
        pl.len().alias("n_rows"),
        missing.sum().alias("n_missing"),
        ((pl.col("status") == "MISSING") & (pl.col("reason") == "gap")).sum().alias("n_gaps"),
        (pl.col("status") == "STALE").sum().alias("n_stale"),
        ((pl.col("status") == "MISSING") & is_wild).sum().alias("n_without_evidence"),
        is_wild.sum().alias("n_wild"),
        (pl.col("status") == "HELD").sum().alias("n_held"),
        longest.alias("longest"),
    )
