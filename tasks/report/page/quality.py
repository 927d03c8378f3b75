"""What the data lack: series set aside, missing rows, gaps."""

from __future__ import annotations

import polars as pl

from tasks.config.columns import WILD, WITHOUT_VALUE
from tasks.report.page.data import PageData


def set_aside(data: PageData) -> pl.DataFrame:
    """The newest run's quarantined series: series_id, reason, detail."""
    newest, run_key = data.rows["as_of"].max(), data.summary.get("run_key") or data.rows.sort("as_of")["run_key"][-1]
    later = data.quarantine.filter(pl.col("as_of") > newest)  # of a run that had nothing to publish
    told = (
        later.filter(pl.col("as_of") == pl.col("as_of").max())
        if len(later)
        else data.quarantine.filter(run_key=run_key)
    )
    told = told.unique("series_id", keep="last", maintain_order=True)
    return told.select("series_id", "reason", "detail")


def by_reason(quarantine: pl.DataFrame) -> pl.DataFrame:
    """reason, n_series; the most frequent first."""
    return (
        quarantine.group_by("reason")
        .agg(pl.len().alias("n_series"))
        .sort("n_series", "reason", descending=[True, False])
    )


def coverage(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a series, the least complete first.

    series_id, first, last, n_rows, n_missing, of which n_gaps (steps that the source lacks), n_stale (after its feed
    had ended) and n_without_evidence (all that they have is wild), n_wild (a value of theirs is), n_held, longest
    (missing rows in succession).
    """
    missing, is_wild = pl.col("status").is_in(WITHOUT_VALUE), pl.col("reason").is_in(WILD)
    stretches = missing.rle()
    longest = stretches.struct.field("len").filter(stretches.struct.field("value")).max().fill_null(0)
    return (
        rows.group_by("series_id", maintain_order=True)
        .agg(
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
        .sort(pl.col("n_missing") / pl.col("n_rows"), descending=True, maintain_order=True)
    )


def balance(data: PageData) -> dict[str, int]:
    """Series by what became of them in the newest run: published, held, stale, quarantined."""
    outside = set_aside(data)["series_id"].unique()
    newest = pl.col("as_of") == pl.col("as_of").max()
    inside = (
        data.rows.filter(~pl.col("series_id").is_in(outside.to_list()))
        .group_by("series_id")
        .agg(
            (pl.col("status").last() == "STALE").alias("stale"),
            ((pl.col("status") == "HELD") & newest).any().alias("held"),
        )
        .with_columns(pl.col("held") & ~pl.col("stale"))
    )
    held, stale = int(inside["held"].sum()), int(inside["stale"].sum())
    return {"published": inside.height - held - stale, "held": held, "stale": stale, "quarantined": len(outside)}
