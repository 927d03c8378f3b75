"""Which moment it is, where none is asked for: what the rows say of it, but for those that a wrong date puts ahead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tasks.config.sections.source import Source
from tasks.source.ingest import Ingested
from tasks.source.parts import FILE, ROW

_A_DAY = timedelta(days=1)  # a row stamped today in whatever zone
_STEPS_AHEAD = 2  # and one stamped with the end of its step, as months are
_OF_ANOTHER_CLOCK = 0.1
_NEWEST = 10
_MOST_TOLD = 3
PLACE = ["series_id", FILE, ROW]


def is_ahead(now: datetime, at: pl.Expr) -> pl.Expr:
    """Whether a row's moment lies ahead by more than a day and two of the usual steps of its series."""
    usual = pl.col("time").sort().diff().median().over("series_id").fill_null(pl.duration())
    return at > pl.lit(now + _A_DAY) + _STEPS_AHEAD * usual


def rows_ahead(ingested: Ingested, source: Source) -> pl.DataFrame:
    """The rows that a mistake puts ahead of this day; none where the source has another clock, as a simulation's has.

    It has if a tenth of the rows lie ahead in half of the series or more.
    """
    rows, now = ingested.rows, datetime.now(UTC)
    newest = rows["known"].max()
    nowhere = isinstance(newest, datetime) and newest <= now + _A_DAY + ingested.delay
    if ingested.as_of is not None or source.counts_steps or newest is None or nowhere:
        return rows.clear()
    ahead = rows.with_columns(ahead=is_ahead(now, pl.col("known") - ingested.delay).fill_null(value=False))
    share = ahead.group_by("series_id").agg(pl.col("ahead").mean())["ahead"]
    if 2 * int((share >= _OF_ANOTHER_CLOCK).sum()) >= len(share):
        return rows.clear()
    return ahead.filter("ahead").drop("ahead")


def left_out(ingested: Ingested, ahead: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``ahead`` that are left out, so that their series go on; of those whose newest rows, as they stand in
    the source, mostly lie ahead, none is: without them nothing would be known of their present.
    """
    if ahead.is_empty():
        return ahead
    newest = ingested.rows.group_by("series_id").tail(_NEWEST)
    wrong = newest.join(ahead.select(PLACE), on=PLACE, how="semi")["series_id"].value_counts(name="wrong")
    mostly = (
        newest["series_id"].value_counts(name="n").join(wrong, on="series_id").filter(2 * pl.col("wrong") > pl.col("n"))
    )
    return ahead.join(mostly, on="series_id", how="anti", maintain_order="left")


def told_left_out(ingested: Ingested, source: Source) -> list[str]:
    """Of which series rows are left out that lie ahead, how many, and where the first of them stands."""
    told = left_out(ingested, rows_ahead(ingested, source)).group_by("series_id", maintain_order=True)
    found = told.agg(pl.len().alias("n"), pl.col("row", "file").first()).head(_MOST_TOLD)
    return [
        f"{series}: {n} {'rows' if n > 1 else 'row'} known later than now left out, the first row {row} of "
        f"{Path(file).name}; mend {'them' if n > 1 else 'it'}, or say which moment: --as-of."
        for series, n, row, file in found.iter_rows()
    ]


def told_ahead(ingested: Ingested, as_of: datetime, source: Source) -> list[str]:
    """That a moment is one to come, if nobody asked for it and it is by more than its rows' steps."""
    if ingested.as_of is not None or source.counts_steps or as_of <= datetime.now(UTC) + _A_DAY + ingested.delay:
        return []
    known = ingested.rows.filter(pl.col("known") <= as_of)
    if not known.select(is_ahead(datetime.now(UTC), pl.col("known") - ingested.delay).any()).item():
        return []
    return [f"the source's rows are dated ahead: as of {as_of:%Y-%m-%d}, a moment to come; `--as-of` says another"]
