"""What the pictures of one run are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from tasks.fitting.bundle import ALL
from tasks.fitting.decode import by_unit
from tasks.report.weights import weights

if TYPE_CHECKING:
    from tasks.config.settings import Settings
    from tasks.fitting.fit import Fitted
    from tasks.judgement.judge import Judged
    from tasks.source.validate import Validated

MOST_SERIES = 12
"""Series that are drawn; where each has a model of its own, with their models."""


@dataclass(frozen=True)
class ReportData:
    """The decoded rows of one unit, how its candidates ranked, and the model in force.

    Attributes
    ----------
    frame
        Every row of the state table at this run's ``as_of``, sorted by ``series_id`` and ``time``, with the
        declared features beside it in their own units (null where missing). States and lists are by persistent id.
    value_columns
        Names of the feature columns of ``frame``.
    ranking
        The selection table, best candidate first, one row a candidate: candidate, n_states, emission,
        duration, aic, bic, hqc, icl, held_out, log_likelihood, n_parameters, n_iter, converged, warnings.
    model
        The fitted estimator in force; it was fitted on scaled features.
    criterion
        The column of ``ranking`` that decided.
    title
        The configuration's name.
    ids
        The persistent id of each of the model's states; empty where they are its own numbers.
    unit
        The series that has this model for itself; empty where it is one of all.
    weights
        Those of regressions, as :func:`tasks.report.weights.weights` gives them, or None.
    counted
        Whether times are numbers of steps.
    """

    frame: pl.DataFrame
    value_columns: list[str]
    ranking: pl.DataFrame
    model: Any
    criterion: str = "bic"
    title: str = ""
    ids: tuple[int, ...] = ()
    unit: str = ALL
    weights: pl.DataFrame | None = None
    counted: bool = False

    @property
    def state_ids(self) -> list[int]:
        """(K,) the persistent ids of the model's states."""
        return list(self.ids) or list(range(len(self.model.transition_prob_)))


def report_frame(decoded: pl.DataFrame, rows: pl.DataFrame, value_columns: list[str]) -> pl.DataFrame:
    """The decoded rows with their features beside them."""
    own = rows.select("series_id", "time", *value_columns).join(decoded, on="series_id", how="semi")
    return decoded.join(own, on=["series_id", "time"], how="left", maintain_order="left")


def drawn_rows(shown: pl.DataFrame | None, decoded: pl.DataFrame) -> pl.DataFrame:
    """What of a night's rows is drawn: those ``shown`` already, and a shard's first series while some are lacking."""
    lacking = MOST_SERIES - (0 if shown is None else shown["series_id"].n_unique())
    first = decoded["series_id"].unique(maintain_order=True).head(max(lacking, 0)).implode()
    own = decoded.filter(pl.col("series_id").is_in(first))
    return own if shown is None else pl.concat([shown, own])


def report_data(
    decoded: pl.DataFrame, validated: Validated, fitted: Fitted, judged: Judged, settings: Settings
) -> list[ReportData]:
    """The pictures' data of the first units, in the order of the rows."""
    assert judged.in_force is not None
    bundle, found = judged.in_force, list[ReportData]()
    for unit, own in islice(by_unit(bundle, decoded).items(), MOST_SERIES):
        member = bundle.members[unit]
        rows = validated.rows.join(own.select("series_id").unique(), on="series_id", how="semi", maintain_order="left")
        trained = rows.filter(pl.col("time").is_between(member.train_start, member.train_end))
        found.append(
            ReportData(
                frame=report_frame(own, validated.rows, validated.value_columns),
                value_columns=validated.value_columns,
                ranking=fitted.units[unit].ranking if unit in fitted.units else fitted.ranking(),
                model=member.model,
                criterion=fitted.criterion,
                title=settings.name,
                ids=member.ids,
                unit=unit,
                weights=weights(member.model, bundle.scaling, trained),
                counted=settings.source.counts_steps,
            )
        )
    return found
