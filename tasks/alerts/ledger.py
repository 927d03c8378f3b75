"""The table of alerts brought up to what the other tables imply: each alert once, under a key that names its cause."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from tasks.alerts.of_nights import feeds_silent, night_alerts, nights_of
from tasks.alerts.of_rows import newest_of, overdue, row_alerts
from tasks.alerts.rule import rule_for
from tasks.alerts.sequence import BACKFILL, published_rows
from tasks.config.outcome import RunSummary
from tasks.config.sections.alerts import Alerts
from tasks.config.settings import Settings
from tasks.tables.alerts import JudgedUntil, change_alerts, judged_until, read_alerts
from tasks.tables.findings import read_quarantine
from tasks.tables.names import read_names
from tasks.tables.silence import silence

PENDING, DELIVERED = "PENDING", "DELIVERED"
NOBODY, HISTORY, RATE, FILLED = "NONE", "HISTORY", "RATE", "BACKFILL"
DELIVERIES = {
    PENDING: "to be told",
    DELIVERED: "told",
    NOBODY: "noted while no hook was configured",
    HISTORY: "over before the series was first published, or before alerts were first judged",
    RATE: "more than `alerts.most` within `alerts.per` rows of its series",
    FILLED: "of rows that a backfill published",
}
_RATED = ("state", "change")
_COUNTED = (PENDING, DELIVERED, NOBODY)


@dataclass(frozen=True)
class Ledger:
    """Every alert of a model, oldest first, and the ids of those that were noted just now."""

    alerts: pl.DataFrame
    new: list[str]


def bring_up(settings: Settings, said: RunSummary | None = None) -> Ledger:
    """Note the alerts that the tables imply and that are not there yet, and which of those that are there have ended:
    causes too that other runs of the same moment found, and the one that has ``said`` how it went did not.

    Only tables are read, so that a run which was stopped between publish and alert leaves nothing behind that the next
    does not find. A row is judged once: a changed rule looks ahead only.
    """
    states, name = settings.output.states, settings.name
    publishes, parts = published_rows(settings)
    nights, judged = nights_of(publishes, settings), judged_until(states, name)
    known = read_alerts(states, name)
    found = _found(settings, publishes, parts, nights, known, said)
    fresh = _fresh(found, known, settings, judged)
    now = nights[-1] if nights else None
    upto = _judged_now(publishes, now)
    if len(fresh) or judged != upto or not _ends(known, found, now).equals(known):
        change_alerts(states, name, lambda there: _merged(there, fresh, found, now), upto)
    return Ledger(read_alerts(states, name), fresh["alert_id"].to_list())


def _judged_now(publishes: pl.DataFrame, now: datetime | None) -> JudgedUntil | None:
    if publishes.is_empty() and now is None:
        return None
    version = int(publishes["order"][-1]) if len(publishes) else -1
    return JudgedUntil(version, now if now is not None else publishes["as_of"].max())  # type: ignore[arg-type]


def _found(
    settings: Settings,
    publishes: pl.DataFrame,
    rows: Iterable[pl.DataFrame],
    nights: list[datetime],
    known: pl.DataFrame,
    said: RunSummary | None,
) -> pl.DataFrame:
    """Every alert that the tables imply, under its key."""
    of_rows = {"order": pl.Int64, "debut": pl.Int64, "place": pl.Int64, "state": pl.Int16}
    blank = [pl.lit(None, kind).alias(column) for column, kind in of_rows.items()]
    parts = [
        night_alerts(publishes, settings, known, said).with_columns(
            *blank, occasion=pl.lit(None, pl.String), state_name=pl.lit(None, pl.String)
        )
    ]
    if "stale" in settings.alerts.also and (silent := silence(settings)) is not None:
        parts.append(feeds_silent(silent).with_columns(*blank))
    states, name, newest = settings.output.states, settings.name, list[pl.DataFrame]()
    names, rule = read_names(states, name), rule_for(settings)
    for part in rows:
        parts.append(row_alerts(part, rule, settings, names))
        newest.append(newest_of(part, settings))
    if newest and nights and "stale" in settings.alerts.also:
        aside = read_quarantine(states, name).filter(as_of=nights[-1])["series_id"]
        late = overdue(pl.concat(newest, how="diagonal"), settings, nights[-1], {*aside})
        parts.append(late.with_columns(pl.lit(None, pl.Int64).alias("order")))
    told = pl.concat(parts, how="diagonal_relaxed")
    lineage = publishes["lineage"][-1] if len(publishes) else None
    return told.with_columns(
        pl.Series("alert_id", [key_of(settings.name, lineage, row) for row in told.iter_rows(named=True)], pl.String),
        pl.lit(settings.name).alias("model_name"),
    ).sort("as_of", "time", "alert_id")


def key_of(model_name: str, lineage: str | None, alert: dict[str, Any]) -> str:
    """What makes two alerts the same, on whatever night and however often they are found."""
    line = lineage if alert["order"] is not None else None
    cause = [model_name, line, alert["kind"], alert["rule"], alert["series_id"], alert["time"].isoformat()]
    return hashlib.sha256(repr(cause).encode()).hexdigest()[:32]


def _fresh(found: pl.DataFrame, known: pl.DataFrame, settings: Settings, judged: JudgedUntil | None) -> pl.DataFrame:
    """The alerts that are not known yet, and what becomes of each."""
    new = ~pl.col("alert_id").is_in(known["alert_id"].implode())
    is_over = pl.col("released").is_not_null() | (pl.col("kind") == "change")
    if judged is None:
        is_old = pl.lit(value=True)
    else:
        new &= pl.col("order").is_null() | (pl.col("order") > judged.version)
        of_nights = pl.col("as_of") < judged.night
        is_old = pl.when(pl.col("order").is_null()).then(of_nights).otherwise(pl.col("order") == pl.col("debut"))
    untold = pl.when(pl.col("occasion") == BACKFILL).then(pl.lit(FILLED)).when(is_over & is_old).then(pl.lit(HISTORY))
    told = NOBODY if settings.alerts.hook is None else PENDING
    fresh = found.filter(new).with_columns(untold.otherwise(pl.lit(told)).alias("delivery"))
    return within_rate(fresh, found, known, settings.alerts).with_columns(pl.lit(0, pl.Int32).alias("attempts"))


def within_rate(fresh: pl.DataFrame, found: pl.DataFrame, known: pl.DataFrame, limits: Alerts) -> pl.DataFrame:
    """Of the alerts of a series' states, those that would be more than the most that are told within so many rows are
    noted as ``RATE``, oldest first.
    """
    became = dict(
        [*known.select("alert_id", "delivery").iter_rows(), *fresh.select("alert_id", "delivery").iter_rows()]
    )
    fresh_ids = {*fresh["alert_id"]}
    rated = found.filter(pl.col("kind").is_in(_RATED)).sort("series_id", "place", "alert_id")
    told: dict[str, deque[int]] = defaultdict(deque)
    for series, place, alert in rated.select("series_id", "place", "alert_id").iter_rows():
        if became.get(alert) not in _COUNTED:
            continue
        recent = told[series]
        while recent and recent[0] <= place - limits.per:
            recent.popleft()
        if alert in fresh_ids and len(recent) >= limits.most:
            became[alert] = RATE
        else:
            recent.append(place)
    return fresh.with_columns(pl.Series("delivery", [became[alert] for alert in fresh["alert_id"]], pl.String))


def _ends(known: pl.DataFrame, found: pl.DataFrame, now: datetime | None) -> pl.DataFrame:
    """The known alerts with when those ended that were open; what no rule implies any more ends now, and what was
    thought over at a moment of which the last run found it goes on.
    """
    implied = found.select("alert_id", "goes_on", until="released", implied=pl.lit(value=True))
    told = known.join(implied.unique("alert_id"), on="alert_id", how="left", maintain_order="left")
    until = pl.when("implied").then("until").otherwise(pl.lit(now, pl.Datetime("us", "UTC")))
    ended = pl.when("goes_on").then(None).otherwise("released")
    return told.with_columns(pl.coalesce(ended, until).alias("released")).select(known.columns)


def _merged(there: pl.DataFrame, fresh: pl.DataFrame, found: pl.DataFrame, now: datetime | None) -> pl.DataFrame:
    new = fresh.filter(~pl.col("alert_id").is_in(there["alert_id"].implode()))
    typed = new.select(pl.col(name).cast(kind) for name, kind in there.schema.items())
    return pl.concat([_ends(there, found, now), typed])
