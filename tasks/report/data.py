"""What the pictures of one run are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from tasks.fitting.bundle import ALL

if TYPE_CHECKING:
    from tasks.config.settings import Settings
    from tasks.fitting.bundle import Bundle
    from tasks.fitting.fit import Fitted
    from tasks.judgement.judge import Judged
    from tasks.source.validate import Validated


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


def report_data(
    decoded: pl.DataFrame, validated: Validated, fitted: Fitted, judged: Judged, settings: Settings
) -> ReportData:
    """The pictures' data: of all series, or where each has a model of its own, of the first."""
    assert judged.in_force is not None
    unit = shown_unit(judged.in_force, decoded)
    rows = decoded if unit == ALL else decoded.filter(pl.col("series_id") == unit)
    member = judged.in_force.members[unit]
    ranking = fitted.units[unit].ranking if unit in fitted.units else fitted.ranking()
    return ReportData(
        frame=report_frame(in_model_order(rows, member.ids), validated.rows, validated.value_columns),
        value_columns=validated.value_columns,
        ranking=ranking,
        model=member.model,
        criterion=fitted.criterion,
        title=settings.name,
    )


def shown_unit(bundle: Bundle, rows: pl.DataFrame) -> str:
    """The unit whose model is shown: that of all series, or of the first of the rows that has one."""
    if ALL in bundle.members:
        return ALL
    return next(series for series in rows["series_id"].unique(maintain_order=True) if series in bundle.members)


def in_model_order(decoded: pl.DataFrame, ids: Sequence[int]) -> pl.DataFrame:
    """Rows whose states are numbered, and lists ordered, as in the model that made them."""
    place = {identity: state for state, identity in enumerate(ids)}
    return decoded.with_columns(
        *(pl.col(name).replace_strict(place, return_dtype=pl.Int16) for name in ("state", "viterbi")),
        *(pl.col(name).list.gather(list(ids)) for name in ("p_filtered", "p_smoothed")),
    )
