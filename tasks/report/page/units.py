"""What the page shows of each unit's own model: the chooser leads to any of them."""

from __future__ import annotations

from typing import Any

import polars as pl

from tasks.report.page import view
from tasks.report.page.data import PageData
from tasks.report.page.series import drawn_series, sampled
from tasks.report.page.signs import marked
from tasks.report.page.text import short
from tasks.report.page.view_calibration import calibration
from tasks.report.page.view_columns import columns
from tasks.report.page.view_effects import effects
from tasks.report.page.view_states import states
from tasks.report.page.view_weights import regression

MOST_UNITS = 24
_ALL, _OTHERS = "all series", "all other series"


def first_shown(data: PageData) -> list[str]:
    """The series that are shown before others: the one that is asked for, and those with signs."""
    signs = marked(data.overview.standing).filter(pl.col("n_signs") > 0)["series_id"].to_list()
    return [*([data.opens_with] if data.opens_with else []), *signs]


def shown_series(data: PageData) -> list[str] | None:
    """Whose rows the page reads; None for those of all, as what it says of a model of several series does."""
    if not data.models or not all(model.unit for model in data.models):
        return None
    first = first_shown(data)
    n_features = len(data.levels) + len(data.units)
    units = dict.fromkeys(model.unit for model in data.models)
    shown = sampled([*units], [name for name in first if name in units], MOST_UNITS)
    return sorted({*shown, *drawn_series(data.overview.series, n_features, data.n_states, first)})


def shown_units(data: PageData, first: list[str]) -> list[PageData]:
    """The page's data by unit, at most 24: those of ``first`` (series) before others, the rest evenly spaced."""
    units = {("" if unit.model is None else unit.model.unit): unit for unit in data.by_unit()}
    chosen = sampled(list(units), [name for name in first if name in units], MOST_UNITS)
    return [units[name] for name in sorted(chosen, key=lambda name: name != data.opens_with)]


def unit_views(units: list[PageData]) -> list[dict[str, Any]]:
    """The sections of each unit's model, and their figures."""
    return [_unit_view(unit) for unit in units]


def _unit_view(unit: PageData) -> dict[str, Any]:
    shown, tested, moved = states(unit), calibration(unit), effects(unit)
    return {
        "name": _name(unit),
        "states": shown,
        "calibration": tested,
        "columns": columns(unit),
        "regression": regression(unit),
        "effects": moved,
        "ranking": view.ranking(unit),
        "figures": shown["figures"] | tested["figures"] | (moved or {"figures": {}})["figures"],
    }


def _name(unit: PageData) -> str:
    if unit.model is None or not (unit.model.unit or unit.model.without):
        return _ALL
    return short(unit.model.unit) or _OTHERS
