"""What the tracking server runs when someone else loads a registered model: features in, causal states out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Regimes(PythonModel):
    """Filtered states of the rows of each series, in the order given."""

    def load_context(self, context: Any) -> None:
        """Read the bundle: safetensors and JSON."""
        from tasks.bundle import load_bundle

        self.model, self.scaling = load_bundle(Path(context.artifacts["bundle"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ARG002
        """``state`` and ``p_filtered`` for every row; rows of one series must stand together, in order of time."""
        import pandas as pd
        import polars as pl

        rows = pl.DataFrame({name: model_input[name].to_numpy() for name in ("series_id", *self.scaling.columns)})
        lengths = rows.select(pl.col("series_id").rle()).unnest("series_id")["len"].to_list()
        filtered = self.model.filter_proba(self.scaling.apply(rows), lengths)
        return pd.DataFrame({"state": filtered.argmax(axis=1), "p_filtered": filtered.tolist()})


set_model(Regimes())
