"""What the tracking server runs when someone else loads a registered model: the source's own columns in, causal states
out, by the very code of the nights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import polars.selectors as cs
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from tasks.fitting.bundle import ALL, Member, load_bundle
from tasks.fitting.decode import by_identity
from tasks.fitting.reading import load_reading
from tasks.source.ingest import ingest_frame
from tasks.source.validate import prepared


class Regimes(PythonModel):
    """Filtered states of raw rows, in the order given.

    Rows are brought to their calendar, transformed and scaled as a night does it; a step that is missing between two
    rows counts as one that lasts.
    """

    def load_context(self, context: Any) -> None:
        """Read the bundle: safetensors and JSON."""
        folder = Path(context.artifacts["bundle"])
        self.bundle, self.settings = load_bundle(folder), load_reading(folder)

    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """``state`` and ``p_filtered`` (by persistent id) for every row.

        Where the nights resample, for every step, with ``series_id`` and ``time``.
        """
        frame = pl.from_pandas(model_input)
        if self.settings is None:
            return self._states(frame.with_columns(time=pl.int_range(pl.len()))).to_pandas()
        if self.settings.source.timezone is None:  # dates, or moments that lost their zone on the way: both are UTC
            clocks = cs.by_name(self.settings.source.time) & cs.datetime(time_zone=None)
            frame = frame.with_columns(clocks.dt.replace_time_zone("UTC"))
        ingested = ingest_frame(frame, self.settings)
        found = self._states(prepared(ingested, self.settings), "series_id", "time")
        if self.settings.source.resample is not None:
            return found.to_pandas()
        asked = ingested.rows.select("series_id", "time")
        both = asked.join(found, on=["series_id", "time"], how="left", maintain_order="left")
        return both.select("state", "p_filtered").to_pandas()

    def _states(self, rows: pl.DataFrame, *keys: str) -> pl.DataFrame:
        known = rows.filter(self.bundle.scaling.knows())
        if len(known) < len(rows):
            unknown = rows.filter(~self.bundle.scaling.knows())["series_id"].unique().head(3).to_list()
            raise ValueError(
                f"found series {unknown}, of which this model has no scale; expected those of its training."
            )
        parts = []
        for member, part in self._parts(rows):
            scaling = self.bundle.scaling
            filtered = by_identity(member.model.filter_proba(**scaling.given(part, member.model)), member.ids)
            states = pl.Series("state", filtered.argmax(axis=1), dtype=pl.Int64)
            parts.append(part.select(*keys).with_columns(states, pl.Series("p_filtered", filtered.tolist())))
        return pl.concat(parts)

    def _parts(self, rows: pl.DataFrame) -> Iterator[tuple[Member, pl.DataFrame]]:
        members = self.bundle.members
        for (series,), part in rows.group_by("series_id", maintain_order=True):
            yield members[str(series) if series in members else ALL], part


set_model(Regimes())
