"""What the tracking server runs when someone else loads a registered model: features in, causal states out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from tasks.bundle import load_bundle


class Regimes(PythonModel):
    """Filtered states of the rows of each series, in the order given."""

    def load_context(self, context: Any) -> None:
        """Read the bundle: safetensors and JSON."""
        self.model, self.scaling = load_bundle(Path(context.artifacts["bundle"]))

    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """``state`` and ``p_filtered`` for every row; rows of one series must stand together, in order of time."""
        rows = pl.DataFrame({name: model_input[name].to_numpy() for name in ("series_id", *self.scaling.columns)})
        lengths = rows.select(pl.col("series_id").rle()).unnest("series_id")["len"].to_list()
        filtered = self.model.filter_proba(self.scaling.apply(rows), lengths)
        return pd.DataFrame({"state": filtered.argmax(axis=1), "p_filtered": filtered.tolist()})


set_model(Regimes())
