"""Values so far from all others that a model of many series would be of them alone."""

from __future__ import annotations

import polars as pl

from tasks.config.settings import Settings


def wild_series(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Series (series_id, detail) with a value further than ``source.wild_spreads`` from the median of the others.

    The others are the series' own where each has its own scale or model, else all. A spread is from the 5 % to the 95 %
    quantile, or from 0.5 % to 99.5 % where most are the same.
    """
    among = ["series_id"] if settings.fit.scale == "series" or settings.fit.pool == "per_series" else []
    apart = [_spreads_apart(pl.col(column), among).alias(column) for column in settings.value_columns]
    furthest = rows.with_columns(apart).with_columns(pl.max_horizontal(settings.value_columns).alias("apart"))
    return (
        furthest.filter(pl.col("apart") > settings.source.wild_spreads)
        .group_by("series_id", maintain_order=True)
        .agg(pl.len().alias("n"), pl.col("time").first().dt.strftime("%Y-%m-%dT%H:%M:%SZ"), pl.col("apart").first())
        .select(
            "series_id",
            pl.format(
                "found {} rows further than `source.wild_spreads` from the others, the first at {} by {} spreads; "
                "mend them, or raise `source.wild_spreads`",
                "n",
                "time",
                pl.col("apart").round(0).cast(pl.String),
            ).alias("detail"),
        )
    )


def _spreads_apart(values: pl.Expr, among: list[str]) -> pl.Expr:
    def of_all(found: pl.Expr) -> pl.Expr:
        return found.over(among) if among else found

    near, wide = (of_all(values.quantile(1 - q) - values.quantile(q)) for q in (0.05, 0.005))
    spread = pl.when(near > 0).then(near).when(wide > 0).then(wide)
    return (values - of_all(values.median())).abs() / spread
