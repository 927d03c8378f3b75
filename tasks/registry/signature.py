"""What a registered model takes and gives, as MLflow tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


def signature(columns: Sequence[str], example: pl.DataFrame | None) -> Any:
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    inputs: list[Any] = [
        ColSpec(DataType.string, "series_id"),
        *(ColSpec(DataType.double, column) for column in columns),
    ]
    outputs: list[Any] = [ColSpec(DataType.long, "state"), ColSpec(Array(DataType.double), "p_filtered")]
    taken = Schema(inputs) if example is None else infer_signature(as_pandas(example)).inputs
    return ModelSignature(inputs=taken, outputs=Schema(outputs))


def as_pandas(example: pl.DataFrame) -> Any:
    """Numbers as doubles, which may be missing, and moments in UTC."""
    import polars as pl
    import polars.selectors as cs

    moments = example.with_columns(
        cs.date().cast(pl.Datetime("us")),
        cs.datetime(time_zone="*").dt.convert_time_zone("UTC").dt.replace_time_zone(None),
    )
    return moments.with_columns(cs.numeric().cast(pl.Float64)).to_pandas()
