"""Series whose history is another than a model has learnt from, and that it would read as if it were not."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tasks.fitting.bundle import ALL
from tasks.source.validate import Validated
from tasks.tables.lineage import set_aside


def without_restated(validated: Validated, held: Mapping[str, str] | None = None) -> Validated:
    """The rows without the series whose values became others since they were published.

    ``held`` says by unit why an older model than this run's is in force: only series of these are set aside, all where
    nothing was fitted. What a new model was fitted on is its own.
    """
    restated = [
        (series, f"{detail}; expected the values that its model has seen, or a new model: hsmm run")
        for series, detail in validated.restated.items()
        if held is None or ALL in held or series in held
    ]
    found = pl.DataFrame(restated, schema={"series_id": pl.String, "detail": pl.String}, orient="row")
    there = found.filter(pl.col("series_id").is_in(validated.rows["series_id"].unique().implode()))
    return set_aside(validated, there, "other_values")
