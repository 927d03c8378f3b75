"""Which series were set aside, and what became of the others."""

from __future__ import annotations

import polars as pl

from tasks.report.page.data import PageData


def set_aside(data: PageData) -> pl.DataFrame:
    """The newest run's quarantined series: series_id, reason, detail."""
    newest = data.overview.newest
    run_key = data.summary.get("run_key") or newest["run_key"]
    later = data.quarantine.filter(pl.col("as_of") > newest["as_of"])  # of a run that had nothing to publish
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


def balance(data: PageData) -> dict[str, int]:
    """Series by what became of them in the newest run: published, held, stale, quarantined."""
    outside, seen = set_aside(data)["series_id"].unique(), data.overview
    inside = seen.standing.filter(~pl.col("series_id").is_in(outside.to_list())).select(
        (pl.col("status") == "STALE").alias("stale"),
        (pl.col("held_at") == seen.newest["as_of"]).fill_null(value=False).alias("held"),
    )
    held, stale = int((inside["held"] & ~inside["stale"]).sum()), int(inside["stale"].sum())
    return {"published": inside.height - held - stale, "held": held, "stale": stale, "quarantined": len(outside)}
