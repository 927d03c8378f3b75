"""How long a series may be silent before it is taken to have ended: longer than it was before it came back."""

from __future__ import annotations

import polars as pl

from tasks.config.durations import typical_length
from tasks.config.sections.source import Source
from tasks.source.look.choices import Choices

_MARGIN = 1.5
_LONGEST = 100


def choose_stale(choices: Choices, rows: pl.DataFrame, frequency: str, zone: str) -> None:
    """``source.stale_after`` from the gaps that ended (of ``rows`` by series and time, none twice), and which series
    have been silent for longer than that.
    """
    usual: int = Source.model_fields["stale_after"].default
    time, rows = pl.col("time"), rows.with_columns(pl.col("time").dt.convert_time_zone(zone))
    gap = (_steps(time.shift().over("series_id"), time, frequency) - 1).clip(lower_bound=0)
    gaps = rows.select("series_id", "time", gap.alias("n")).drop_nulls("n").sort("n", descending=True)
    longest = int(gaps["n"][0]) if len(gaps) else 0
    after = usual if longest <= usual or longest > _LONGEST else round(_MARGIN * longest)
    silent = rows.group_by("series_id").agg(pl.col("time").last()).with_columns(pl.col("time").max().alias("end"))
    ended = silent.filter(_steps(time, pl.col("end"), frequency) > after).sort("time", "series_id")
    why = f"the longest gap that ended lacks {longest} step{'' if longest == 1 else 's'}" + _where(gaps, longest)
    if len(ended):
        first = ended.row(0, named=True)
        why += f"; {len(ended)} of {len(silent)} series ended before the others: {first['series_id']!r} on "
        why += f"{first['time']:%Y-%m-%d}" + (" first" if len(ended) > 1 else "")
    if after != usual or len(ended) or longest > usual:
        value = after if after != usual else None
        line = f"stale_after = {usual}   # steps without a value after which a series has ended, as by default"
        choices.add("source.stale_after", value, why, line)


def _where(gaps: pl.DataFrame, longest: int) -> str:
    return f", of {gaps['series_id'][0]!r} before {gaps['time'][0]:%Y-%m-%d}" if longest else ""


def _steps(since: pl.Expr, until: pl.Expr, frequency: str) -> pl.Expr:
    """How many steps lie between two moments, the second counted and the first not; about, where these vary."""
    if frequency == "1bd":
        return pl.business_day_count(since.dt.date(), until.dt.date()).cast(pl.Int64)
    length = typical_length(frequency).total_seconds()
    return ((until - since).dt.total_milliseconds() / (1000 * length)).round().cast(pl.Int64)
