"""How long a series may be silent before it is taken to have ended: longer than it was before it came back."""

from __future__ import annotations

import polars as pl

from tasks.config.durations import typical_length
from tasks.config.sections.source import Source
from tasks.source.look.choices import Choices

_MARGIN = 1.5
_LONGEST = 100
_WORKING = 5 / 7  # of the days of a week


def choose_stale(choices: Choices, rows: pl.DataFrame, frequency: str) -> None:
    """``source.stale_after`` from the gaps that ended (of ``rows`` by series and time, none twice), and which series
    have been silent for longer than that.
    """
    usual: int = Source.model_fields["stale_after"].default
    gap = _steps(pl.col("time").diff().over("series_id"), frequency) - 1
    gaps = rows.select("series_id", "time", gap.alias("n")).drop_nulls("n").sort("n", descending=True)
    longest = int(gaps["n"][0]) if len(gaps) else 0
    after = usual if longest <= usual or longest > _LONGEST else round(_MARGIN * longest)
    silent = rows.group_by("series_id").agg(pl.col("time").last()).with_columns(pl.col("time").max().alias("end"))
    ended = silent.filter(_steps(pl.col("end") - pl.col("time"), frequency) > after).sort("time", "series_id")
    why = f"the longest gap that ended has {longest} steps" + _where(gaps, longest)
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


def _steps(span: pl.Expr, frequency: str) -> pl.Expr:
    of_days = frequency == "1bd"
    length = typical_length("1d" if of_days else frequency).total_seconds() / (_WORKING if of_days else 1.0)
    return (span.dt.total_milliseconds() / (1000 * length)).round().cast(pl.Int64)
