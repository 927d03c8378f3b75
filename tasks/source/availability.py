"""When a row's step had come, and its delay was over."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tasks.config.sections.source import Source
from tasks.source.calendar import every, with_step
from tasks.source.ingest import Ingested
from tasks.source.moments import at_clock, is_of_days
from tasks.source.policies import by_calendar


def available_later(rows: pl.DataFrame, source: Source, ingested: Ingested, since: datetime) -> pl.DataFrame:
    """Of ``rows`` (by series and time) those that cannot have been known at ``since``, however early they were written.

    A row of a step that others were resampled to is available when the step is over.
    """
    later = [rows.clear()]
    for frequency, part in by_calendar(rows, source):
        come = pl.col("time")
        if source.resample is not None and frequency is not None:
            counted_in = ingested.zone if is_of_days(frequency) else "UTC"
            part = with_step(part, frequency, ingested.zone)
            come = at_clock(pl.col("step").dt.offset_by(every(frequency)), counted_in)
        later.append(part.filter(come + ingested.delay > since).select(rows.columns))
    return pl.concat(later).sort("series_id", "time", maintain_order=True)
