"""What the page is made from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tasks.alerts.show import noted_alerts
from tasks.config.moments import in_steps
from tasks.config.ops import OPS
from tasks.config.outcome import RunSummary
from tasks.fitting.bundle import ALL, Member
from tasks.fitting.decode import by_unit, default_name
from tasks.fitting.scaling import OTHERS, Scaling
from tasks.report.data import report_frame
from tasks.report.page.overview import Overview, largest_state, names_said, overview
from tasks.report.page.text import moment
from tasks.source.leading import told_leading
from tasks.tables.findings import read_quarantine
from tasks.tables.names import read_name_rows

if TYPE_CHECKING:
    from tasks.config.settings import Settings
    from tasks.fitting.bundle import Bundle

_WORDS = {
    "ms": "millisecond",
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "bd": "business day",
    "w": "week",
    "mo": "month",
    "q": "quarter",
    "y": "year",
}


@dataclass(frozen=True)
class ChosenModel:
    """A fitted estimator, or the member of a bundle that has it, and what its features were scaled by.

    ``ids`` are the persistent ids of the estimator's states, in its own order; empty where the two orders are one.
    ``unit`` is the series that it is the model of; empty where it is one of all, or of all but those in ``without``.
    """

    held: Any
    scaling: Scaling
    ids: tuple[int, ...] = ()
    unit: str = ALL
    without: frozenset[str] = frozenset()

    @property
    def estimator(self) -> Any:
        """The fitted estimator, which a member of a bundle may read only now."""
        return self.held.model if isinstance(self.held, Member) else self.held

    @property
    def state_ids(self) -> list[int]:
        """(K,) where each of the estimator's states stands in the table."""
        return list(self.ids) or list(range(len(self.estimator.transition_prob_)))

    def serves(self) -> pl.Expr:
        """Whether a row is one that this model decodes."""
        if self.unit != ALL:
            return pl.col("series_id") == self.unit
        return ~pl.col("series_id").is_in([*self.without])

    def placed(self, values: np.ndarray, n_states: int) -> np.ndarray:
        """(K, ...) by the estimator's states → (n_states, ...) by persistent id, NaN for states it does not have."""
        found = np.full((n_states, *values.shape[1:]), np.nan)
        found[self.state_ids] = values
        return found


@dataclass(frozen=True)
class PageData:
    """Everything that is published of one model, as it is known now.

    Attributes
    ----------
    summary
        What the newest publish said of itself; empty where that is not recorded.
    rows
        The state table, one row a series and time, sorted, with the features beside it in their own units, and the
        columns of the context; of many series, those that the page draws.
    of_all
        What is said of all rows, where ``rows`` are but some.
    units
        Feature to its unit; the features are columns of ``rows``.
    quarantine, names
        Rows of the companion tables of this model, all runs.
    ranking
        The newest run's candidates, best first, or None.
    models
        The models that made the newest rows, one a unit; empty where they could not be read.
    step
        How long a step is, such as "1bd"; empty where rows are steps.
    counted
        Whether times are numbers of steps.
    levels
        Column to its unit, of ``rows`` too: what features are changes of, such as prices.
    returns
        The features that are returns.
    ranked_by
        The criterion, where the summary names none.
    alerts
        The alerts that are open, and those of the newest night that had any; None where they are not judged yet.
    categories
        Columns of the context whose values are names, and the name of each value.
    opens_with
        The series that is chosen at first; empty for the first of all.
    notes
        One sentence for each thing that could not be had.
    """

    name: str
    summary: RunSummary
    rows: pl.DataFrame
    units: dict[str, str]
    quarantine: pl.DataFrame
    names: pl.DataFrame
    ranking: pl.DataFrame | None = None
    models: Sequence[ChosenModel] = ()
    step: str = ""
    counted: bool = False
    levels: dict[str, str] = field(default_factory=dict)
    returns: Sequence[str] = ()
    opens_with: str = ""
    ranked_by: str = "bic"
    alerts: pl.DataFrame | None = None
    categories: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    of_all: Overview | None = None

    @cached_property
    def overview(self) -> Overview:
        """What is said of all rows."""
        return self.of_all or overview([self.rows])

    @cached_property
    def n_states(self) -> int:
        """As many as the model has, and as any row or name speaks of."""
        largest = largest_state(self.rows) if self.of_all is None else self.of_all.largest
        ids = [*self.names["state"], *(identity for model in self.models for identity in model.state_ids)]
        return 1 + max((0, largest, *(i for i in ids if i is not None)))

    @cached_property
    def state_names(self) -> list[str]:
        """By state id; a state without a name goes by its number."""
        said = names_said(self.rows) if self.of_all is None else self.of_all.names
        given = self.names.sort("born", nulls_last=False).select("state", "name").drop_nulls()
        named = dict(said.iter_rows()) | dict(given.iter_rows())
        return [named.get(state) or default_name(state) for state in range(self.n_states)]

    @property
    def model(self) -> ChosenModel | None:
        """The first of the models."""
        return self.models[0] if self.models else None

    @cached_property
    def modelled(self) -> pl.DataFrame:
        """The rows that the first model speaks of."""
        return self.rows if self.model is None else self.rows.filter(self.model.serves())

    @cached_property
    def trained(self) -> pl.DataFrame:
        """Of these, those that the parameters in force have seen."""
        if self.modelled.is_empty():
            return self.modelled
        window = self.modelled.sort("as_of", maintain_order=True).row(-1, named=True)
        return self.modelled.filter(pl.col("time").is_between(window["train_start"], window["train_end"]))

    @property
    def has_calendar(self) -> bool:
        """Whether a step is a stretch of time, the same or a day or month of a calendar."""
        return bool(self.step) and not self.counted

    def by_unit(self) -> list[PageData]:
        """The same, once for each model, which is then the only one."""
        return [replace(self, models=(model,), of_all=self.overview) for model in self.models] or [self]

    def when(self, time: Any) -> str:
        """A moment as it is written, or the number of a step."""
        return moment(time, counted=self.counted)

    @property
    def criterion(self) -> str:
        """What the candidates were ranked by."""
        return str((self.summary.get("best") or {}).get("criterion", self.ranked_by))

    @property
    def steps(self) -> str:
        """The unit of durations."""
        return f"steps of {length_in_words(self.step)}" if self.step else "steps"


def page_data(
    settings: Settings,
    summary: RunSummary,
    rows: pl.DataFrame,
    features: pl.DataFrame | None,
    ranking: pl.DataFrame | None,
    models: Sequence[ChosenModel],
    notes: Sequence[str] = (),
    of_all: Overview | None = None,
) -> PageData:
    """The table's ``rows`` with their ``features`` (series_id, time and a column each) and all else that is known."""
    columns = [] if features is None else [name for name in settings.value_columns if name in features.columns]
    rows = with_features(rows, features, settings)
    if features is not None and "age" in features.columns:
        notes = [*notes, *told_leading(features, settings.source)]
    return PageData(
        name=settings.name,
        summary=summary,
        rows=rows,
        units={name: settings.made_features[name].unit for name in columns},
        levels={name: level.unit for name, level in settings.levels.items() if name in rows.columns},
        returns=[name for name in columns if OPS[settings.made_features[name].op].change == "return"],
        quarantine=read_quarantine(settings.output.states, settings.name),
        names=read_name_rows(settings.output.states, settings.name),
        ranking=ranking,
        models=models,
        step=settings.source.frequency if isinstance(settings.source.frequency, str) else "",
        counted=settings.source.counts_steps,
        ranked_by=settings.select.criterion,
        categories={name: levels for name, made in settings.made_context.items() if (levels := OPS[made.op].levels)},
        alerts=noted_alerts(settings),
        notes=[in_steps(note) for note in notes] if settings.source.counts_steps else list(notes),
        of_all=of_all,
    )


def with_features(rows: pl.DataFrame, features: pl.DataFrame | None, settings: Settings) -> pl.DataFrame:
    """The table's ``rows`` with what there is of features, context and levels beside them."""
    if features is None:
        return rows
    wanted = (*settings.value_columns, *settings.context_columns, *settings.levels)
    return report_frame(rows, features, [name for name in wanted if name in features.columns])


def length_in_words(length: str) -> str:
    """ "15m" as "15 minutes"."""
    amount, short = re.fullmatch(r"(\d+)(\w+)", length).groups()  # type: ignore[union-attr]
    word = _WORDS.get(short, short)
    return f"{amount} {word}" if amount == "1" else f"{amount} {word}s"


def chosen_models(bundle: Bundle, rows: pl.DataFrame) -> list[ChosenModel]:
    """The models of ``rows``, in the order of their first: that of all series, or of each its own. None is read yet."""
    own, scales = frozenset(bundle.members) - {ALL}, bundle.scaling.statistics
    by_series = {str(series): part for (series,), part in scales.group_by("series_id", maintain_order=True)}
    others, none = by_series.get(OTHERS, scales.clear()), frozenset[str]()
    found = []
    for unit in by_unit(bundle, rows.select("series_id")):
        if unit == ALL:
            statistics = scales.filter(~pl.col("series_id").is_in([*own]))
        else:
            statistics = pl.concat([by_series.get(unit, scales.clear()), others])
        member, scaling = bundle.members[unit], replace(bundle.scaling, statistics=statistics)
        found.append(ChosenModel(member, scaling, member.ids, unit, own if unit == ALL else none))
    return found
