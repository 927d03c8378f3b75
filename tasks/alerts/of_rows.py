"""Alerts of rows: states entered, changes, surprise, feeds that have ended, values too wild to be evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import numpy as np
import polars as pl

from tasks.alerts.hysteresis import Hysteresis, beginnings
from tasks.alerts.rule import Rule
from tasks.alerts.sequence import ended, first_rows, shown, state_probabilities, valued
from tasks.alerts.surprise import with_surprise
from tasks.config.columns import WILD
from tasks.config.durations import as_timedelta
from tasks.config.settings import Settings
from tasks.source.policies import by_calendar

_AT_ONCE = Hysteresis(1.0, 1.0)
_OF_A_ROW = ("series_id", "time", "as_of", "model_version", "run_key", "order", "debut", "occasion")


def row_alerts(rows: pl.DataFrame, rule: Rule, settings: Settings, names: Mapping[int, str]) -> pl.DataFrame:
    """Every alert that the published rows imply, each with the time at which it was ``released``, if it was."""
    alerts, known = settings.alerts, valued(rows)
    found = [*_of_states(known, rule, names)]
    if "drift" in alerts.also:
        ranked = with_surprise(known, alerts.drift.window)
        limits = Hysteresis(alerts.drift.surprise, alerts.drift.surprise / 2)
        found.append(_of_one(ranked, ranked["surprise"], limits, "drift", "surprise", "rows are more surprising"))
    if "stale" in alerts.also:
        feed = ended(rows)
        is_stale = feed["status"] == "STALE"
        told = _of_one(feed, is_stale.cast(pl.Float64), _AT_ONCE, "stale", "stale", _since(feed))
        found.append(told.with_columns(value=pl.lit(None, pl.Float64)))
    if "wild" in alerts.also:
        seen = shown(rows)
        is_wild = seen["reason"].is_in(WILD).fill_null(value=False).cast(pl.Float64)
        told = _of_one(seen, is_wild, _AT_ONCE, "wild", "wild", "a value too far from all others to be evidence")
        found.append(told.with_columns(value=pl.lit(None, pl.Float64)))
    return pl.concat(found, how="diagonal")


def newest_of(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Of each series its newest row, of those without a calendar the newest with a value, and the ``usual`` distance of
    its rows.
    """
    found = [_newest(rows.clear())]
    for frequency, part in by_calendar(rows, settings.source):
        found.append(_newest(valued(part) if frequency is None else part))
    return pl.concat(found, how="diagonal")


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.sort("series_id", "time")
        .group_by("series_id", maintain_order=True)
        .agg(
            pl.col(*(name for name in rows.columns if name != "series_id")).last(),
            pl.col("time").unique().sort().diff().median().alias("usual"),
        )
    )


def overdue(newest: pl.DataFrame, settings: Settings, as_of: datetime, aside: Collection[str]) -> pl.DataFrame:
    """Series that have no row for longer than usual, which no row can say of them: of those with a calendar, whose rows
    go on without values, the ones that the source no longer has. Those set ``aside`` at that night are told as such.
    """
    found = [_told(newest.clear(), np.empty(0, dtype=np.int64), "stale", "stale", "")]
    for frequency, part in by_calendar(newest.filter(~pl.col("series_id").is_in([*aside])), settings.source):
        if frequency is None:
            late = _late(part, as_of - as_timedelta(settings.source.available_after), settings)
            told = _told(late, np.arange(len(late)), "stale", "stale", "no row for long")
        elif not settings.source.has_own_counts:
            late = _late(part, part["time"].max(), settings).filter(pl.col("status") != "STALE")  # type: ignore[arg-type]
            told = _told(late, np.arange(len(late)), "stale", "stale", "the source has it no more")
        else:
            continue
        found.append(told.with_columns(as_of=pl.lit(as_of)))
    return pl.concat(found, how="diagonal")


def _late(newest: pl.DataFrame, until: datetime, settings: Settings) -> pl.DataFrame:
    """The series whose newest row's age ``until`` then, in usual distances, is beyond ``source.stale_after``."""
    age = (pl.lit(until) - pl.col("time")) / pl.col("usual")
    return newest.filter(age.floor() > settings.source.stale_after)


def _of_states(rows: pl.DataFrame, rule: Rule, names: Mapping[int, str]) -> list[pl.DataFrame]:
    probabilities = state_probabilities(rows["p_filtered"])
    found, first = rule.found(probabilities, first_rows(rows)), first_rows(rows)
    told = []
    for state in range(probabilities.shape[1]):
        began = np.flatnonzero(found.began[:, state])
        label = names.get(state, f"state {state}")
        of_state = {"state": state, "state_name": label, "value": probabilities[began, state]}
        until = _released(rows, first, found.within[:, state], began)
        if state in rule.states:
            told.append(_told(rows, began, "state", f"state {state}", f"entered {label}", until, **of_state))
        for before in sorted({*found.before[began].tolist()} - {-1, state}):
            if rule.matters(before, state):
                own = found.before[began] == before
                detail = f"{names.get(before, f'state {before}')} -> {label}"
                of_change = {**of_state, "value": of_state["value"][own]}
                code = f"change {before} -> {state}"
                told.append(_told(rows, began[own], "change", code, detail, until.filter(own), **of_change))
    return told or [_told(rows, np.empty(0, dtype=np.int64), "state", "", "")]


def _of_one(
    rows: pl.DataFrame, values: pl.Series, limits: Hysteresis, kind: str, code: str, detail: str | pl.Series
) -> pl.DataFrame:
    first = first_rows(rows)
    within = limits.entered(values.to_numpy()[:, None], first)
    began = np.flatnonzero(beginnings(within, first)[:, 0])
    until = _released(rows, first, within[:, 0], began)
    told = detail if isinstance(detail, str) else detail[began]
    return _told(rows, began, kind, code, told, until, value=values.to_numpy()[began])


def _since(feed: pl.DataFrame) -> pl.Series:
    """Of each row when its series had a value last."""
    seen = pl.when(pl.col("status") != "STALE").then(pl.col("time")).forward_fill().over("series_id")
    told = pl.format("no value since {}", seen.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return feed.select(told.fill_null("no value for long")).to_series()


def _told(
    rows: pl.DataFrame,
    at: np.ndarray,
    kind: str,
    code: str,
    detail: str | pl.Series,
    released: pl.Series | None = None,
    **more: object,
) -> pl.DataFrame:
    """Alerts at some of the rows."""
    place = ["place"] if "place" in rows.columns else []
    own = rows.select(*_OF_A_ROW, *place)[at]
    until = pl.Series([None] * len(at), dtype=own.schema["time"]) if released is None else released
    return own.with_columns(
        pl.lit(kind).alias("kind"),
        pl.lit(code).alias("rule"),
        pl.lit(detail).alias("detail") if isinstance(detail, str) else detail.alias("detail"),
        until.alias("released"),
        pl.lit(more.get("state"), pl.Int16).alias("state"),
        pl.lit(more.get("state_name"), pl.String).alias("state_name"),
        pl.Series("value", np.asarray(more.get("value", np.full(len(at), np.nan)), dtype=np.float64)).fill_nan(None),
    )


def _released(rows: pl.DataFrame, first: np.ndarray, within: np.ndarray, began: np.ndarray) -> pl.Series:
    """The time of the first row of its series after each beginning that is no longer within; null where none is."""
    outside, number = np.flatnonzero(~within), first.cumsum()
    nearest = np.append(outside, -1)[np.searchsorted(outside, began)]
    there = (nearest >= 0) & (number[nearest] == number[began]) if len(began) else np.empty(0, dtype=bool)
    return rows["time"][np.maximum(nearest, 0)].set(pl.Series(~there), None)
