"""What the pictures of one run are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class ReportData:
    """The decoded rows of a run, how the candidates ranked, and the chosen model.

    Attributes
    ----------
    frame
        Every row of the state table at this run's ``as_of``, sorted by ``series_id`` and ``time``, with the
        declared features beside it in their own units (null where missing). Lists are indexed by state.
    value_columns
        Names of the feature columns of ``frame``.
    ranking
        The selection table, best candidate first, one row a candidate: candidate, n_states, emission,
        duration, aic, bic, hqc, icl, held_out, log_likelihood, n_parameters, n_iter, converged, warnings.
    model
        The chosen fitted estimator; it was fitted on scaled features.
    criterion
        The column of ``ranking`` that decided.
    title
        The configuration's name.
    """

    frame: pl.DataFrame
    value_columns: list[str]
    ranking: pl.DataFrame
    model: Any
    criterion: str = "bic"
    title: str = ""


def report_frame(decoded: pl.DataFrame, rows: pl.DataFrame, value_columns: list[str]) -> pl.DataFrame:
    """The decoded rows with their features beside them."""
    return decoded.join(
        rows.select("series_id", "time", *value_columns), on=["series_id", "time"], how="left", maintain_order="left"
    )
