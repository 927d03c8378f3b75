"""Alerts for people and scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from tasks.alerts.check import check_alerts
from tasks.alerts.ledger import PENDING
from tasks.alerts.step import as_json
from tasks.config.moments import MOMENT, in_steps
from tasks.config.settings import Settings
from tasks.tables.alerts import judged_until, read_alerts
from tasks.tables.names import read_names
from tasks.tables.output import check_output
from tasks.tables.places import alerts_table
from tasks.tables.publishes import read_publishes
from tasks.tables.show import require_published

_OF_STATES = ("kind", "rule", "detail")
_ID = re.compile(r"\d+")


def listed_alerts(settings: Settings, *, series: str | None = None, every: bool = False) -> dict[str, Any]:
    """The alerts that are open, and those of the newest night that had any; or all of them. Oldest first.

    Raises ``OutputError`` where there is nothing that alerts could be of.
    """
    check_alerts(settings)
    check_output(settings.output.states)
    known = read_alerts(settings.output.states, settings.name)
    if (known if series is None else known.filter(series_id=series)).is_empty():
        require_published(settings, series)
    shown = by_name(known if every else current(known), settings)
    if series is not None:
        shown = shown.filter(series_id=series)
    return {
        "model_name": settings.name,
        "alerts_table": alerts_table(settings.output.states),
        "n_alerts": len(known),
        "n_open": known.filter(pl.col("released").is_null()).height,
        "n_pending": known.filter(pl.col("delivery") == PENDING).height,
        "alerts": as_json(shown),
    }


def current(known: pl.DataFrame) -> pl.DataFrame:
    """The alerts that are open, and those of the newest night that had any."""
    return known.filter(pl.col("released").is_null() | (pl.col("as_of") == pl.col("as_of").max()))


def by_name(alerts: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The alerts, those of states in the names that these bear now; what is noted of each are their ids."""
    names = read_names(settings.output.states, settings.name)
    told = [_detail(kind, rule, names) or detail for kind, rule, detail in alerts.select(*_OF_STATES).iter_rows()]
    label = pl.col("state").replace_strict(names, default=pl.col("state_name"), return_dtype=pl.String)
    return alerts.with_columns(label.alias("state_name"), pl.Series("detail", told, pl.String))


def _detail(kind: str, rule: str, names: Mapping[int, str]) -> str | None:
    """What happened to states, of which the rule's code says the ids; None of what is no state's."""
    if kind not in ("state", "change"):
        return None
    labels = [names.get(int(state), f"state {state}") for state in _ID.findall(rule)]
    return f"entered {labels[0]}" if kind == "state" else " -> ".join(labels)


def noted_alerts(settings: Settings) -> pl.DataFrame | None:
    """The :func:`current` alerts; ``None`` where there are publishes that alerts were not judged by yet."""
    states, name = settings.output.states, settings.name
    judged, publishes = judged_until(states, name), read_publishes(states, name)
    if len(publishes) and (judged is None or judged.version < int(publishes["order"][-1])):
        return None
    return by_name(current(read_alerts(states, name)), settings)


def alerts_as_text(said: dict[str, Any], *, counted: bool = False) -> str:
    """One line an alert, and how many there are; where steps are ``counted``, moments are their numbers."""
    told = in_steps if counted else _minute
    lines = [line_of(alert, told) for alert in said["alerts"]]
    pending = f", {said['n_pending']} to be told" if said["n_pending"] else ""
    return "\n".join([*lines, f"{said['n_open']} open{pending}, {said['n_alerts']} in all: {said['alerts_table']}"])


def line_of(alert: dict[str, Any], told: Callable[[str], str]) -> str:
    """What happened, to which series, when, and whether it has ended."""
    value = "" if alert["value"] is None else f" ({alert['value']:.3g})"
    until = "open" if alert["released"] is None else f"until {told(alert['released'])}"
    detail = MOMENT.sub(lambda found: told(found[0]), alert["detail"])
    return f"{told(alert['time'])}  {alert['series_id'] or 'all'}  {alert['kind']}: {detail}{value}  {until}"


def _minute(moment: str) -> str:
    """A moment in UTC; of a day that begins there, the day."""
    return f"{moment[:16].replace('T', ' ')}Z".removesuffix(" 00:00Z")
