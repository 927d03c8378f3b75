"""Rows in pieces of whole series: what is made of each series by itself needs no room for all of them at once."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

AT_ONCE = 500_000


def pieces(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The rows of some series after those of others, by name, about :data:`AT_ONCE` together, each series' in their
    order; views of ``rows`` where these stand so. Without rows, one piece.
    """
    sizes = rows.group_by("series_id").agg(pl.len().alias("n")).sort("series_id")
    placed = numbered(sizes)
    if placed["piece"].n_unique() < 2:
        yield rows
        return
    piece = rows.select("series_id").join(placed, on="series_id", how="left", maintain_order="left")["piece"]
    order = (
        None if piece.is_sorted() else piece.to_frame().select(pl.arg_sort_by("piece", maintain_order=True))["piece"]
    )
    start = 0
    for n in placed.group_by("piece", maintain_order=True).agg(pl.col("n").sum())["n"]:
        yield rows.slice(start, n) if order is None else rows[order.slice(start, n)]
        start += n


def numbered(sizes: pl.DataFrame, width: int = 1) -> pl.DataFrame:
    """Series (``series_id``, ``n`` rows, in order) with the number of their ``piece``; of rows so many times as wide,
    a piece has as many fewer.
    """
    starts = pl.col("n").cast(pl.Int64).cum_sum() - pl.col("n")
    return sizes.select("series_id", "n", (starts // max(AT_ONCE // width, 1)).rle_id().alias("piece"))
