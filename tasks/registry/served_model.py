"""What the tracking server runs when someone else loads a registered model: features in, causal states out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from tasks.fitting.bundle import ALL, Member, load_bundle
from tasks.fitting.decode import by_identity


class Regimes(PythonModel):
    """Filtered states of the rows of each series, in the order given."""

    def load_context(self, context: Any) -> None:
        """Read the bundle: safetensors and JSON."""
        self.bundle = load_bundle(Path(context.artifacts["bundle"]))

    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """``state`` and ``p_filtered`` (by persistent id) for every row; a series' rows stand together, in order."""
        scaling = self.bundle.scaling
        rows = pl.DataFrame(
            {name: model_input[name].to_numpy() for name in ("series_id", *scaling.columns, *scaling.context)}
        )
        probabilities = [
            by_identity(member.model.filter_proba(**scaling.given(part, member.model)), member.ids).tolist()
            for member, part in self._parts(rows)
        ]
        filtered = [row for part in probabilities for row in part]
        return pd.DataFrame(
            {"state": [max(range(len(row)), key=row.__getitem__) for row in filtered], "p_filtered": filtered}
        )

    def _parts(self, rows: pl.DataFrame) -> list[tuple[Member, pl.DataFrame]]:
        if ALL in self.bundle.members:
            return [(self.bundle.members[ALL], rows)]
        parts = rows.with_columns(pl.col("series_id").rle_id().alias("run")).partition_by("run", maintain_order=True)
        return [(self.bundle.members[part["series_id"][0]], part) for part in parts]


set_model(Regimes())
