"""What the page is made from, read from the table: of many series, only those rows that it draws are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import polars as pl

from tasks.config.columns import STATE_COLUMNS
from tasks.config.outcome import RunSummary
from tasks.config.settings import Settings
from tasks.report.page.data import ChosenModel, PageData, page_data, with_features
from tasks.report.page.overview import Overview, overview
from tasks.report.page.units import shown_series
from tasks.tables.show import named_states, no_rows, with_names
from tasks.tables.states import read_states_of, states_in_pieces
from tasks.tables.storage import DTYPES


def published_data(
    settings: Settings,
    summary: RunSummary,
    of_all: Overview,
    features: pl.DataFrame | None,
    ranking: pl.DataFrame | None,
    models: Sequence[ChosenModel],
    notes: Sequence[str] = (),
    opens_with: str = "",
) -> PageData:
    """All that is known, with the rows of the series that the page draws."""
    none = pl.DataFrame(schema={name: DTYPES[kind] for name, kind in STATE_COLUMNS.items()})
    data = page_data(settings, summary, none, features, ranking, models, notes, of_all)
    data = replace(data, opens_with=opens_with)
    series = shown_series(data)
    rows = read_states_of(settings.output.states, settings.name, of_all.series if series is None else series)
    return replace(data, rows=with_features(with_names(rows, named_states(settings)), features, settings))


def published_overview(settings: Settings) -> Overview:
    """What is said of all rows that are known now. Raises ``OutputError`` where there are none."""
    names, parts = named_states(settings), states_in_pieces(settings.output.states, settings.name)
    first = next(parts, None)
    if first is None:
        raise no_rows(settings)
    return overview(with_names(rows, names) for rows in chain([first], parts))
