"""What the page says of all rows, whichever of them it draws: read a few series at a time, if need be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from tasks.report.page.coverage import covered
from tasks.report.page.signs import standing_of


@dataclass(frozen=True)
class Overview:
    """Of all rows of a state table.

    Attributes
    ----------
    newest
        The last of the rows of the newest ``as_of``.
    standing, coverage
        One row a series, by name: its newest row, and what of it is missing.
    names
        ``state``, ``state_name`` as the rows say them, the latest series' last.
    largest
        The greatest id of a state that a row speaks of, -1 where none does.
    first, last
        The times of the first and the last row.
    n_rows, n_newest, n_unseen
        Rows; of the newest ``as_of``; that the parameters behind them have not seen.
    versions
        Those of the models that made them.
    """

    newest: dict[str, Any]
    standing: pl.DataFrame
    coverage: pl.DataFrame
    names: pl.DataFrame
    largest: int
    first: datetime
    last: datetime
    n_rows: int
    n_newest: int
    n_unseen: int
    versions: list[int]

    @property
    def series(self) -> list[str]:
        """All of them, by name."""
        return self.standing["series_id"].to_list()


def overview(parts: Iterable[pl.DataFrame]) -> Overview:
    """Of the rows of some series after those of others, by name."""
    found = [_of_part(rows) for rows in parts]
    newest = sorted((part["newest"] for part in found), key=lambda row: row["as_of"])[-1]
    together = pl.concat([part["counts"] for part in found])
    return Overview(
        newest=newest,
        standing=pl.concat([part["standing"] for part in found]),
        coverage=pl.concat([part["coverage"] for part in found]),
        names=names_said(pl.concat([part["names"] for part in found])),
        largest=max(part["largest"] for part in found),
        first=together["first"].min(),
        last=together["last"].max(),
        n_rows=int(together["n_rows"].sum()),
        n_newest=int(together.filter(as_of=newest["as_of"])["n_rows"].sum()),
        n_unseen=int(together["n_unseen"].sum()),
        versions=sorted({version for part in found for version in part["versions"]}),
    )


def largest_state(rows: pl.DataFrame) -> int:
    """The greatest id of a state that a row speaks of, -1 where none does."""
    ids = [*rows["state"].unique(), *rows["viterbi"].unique()]
    lengths = rows["p_filtered"].list.len().drop_nulls().unique()
    return max((-1, *(i for i in ids if i is not None), *(length - 1 for length in lengths)))


def names_said(rows: pl.DataFrame) -> pl.DataFrame:
    """``state``, ``state_name``: each state's in the last row that has one."""
    named = rows.select("state", "state_name").drop_nulls()
    return named.unique("state", keep="last", maintain_order=True)


def _of_part(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "newest": rows.filter(pl.col("as_of") == pl.col("as_of").max()).row(-1, named=True),
        "standing": standing_of(rows),
        "coverage": covered(rows),
        "names": names_said(rows),
        "largest": largest_state(rows),
        "counts": rows.group_by("as_of").agg(
            pl.len().alias("n_rows"),
            pl.col("in_sample").not_().sum().alias("n_unseen"),
            pl.col("time").min().alias("first"),
            pl.col("time").max().alias("last"),
        ),
        "versions": rows["model_version"].drop_nulls().unique().to_list(),
    }
