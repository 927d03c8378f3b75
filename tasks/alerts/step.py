"""The last step of a run: what its publish deserves an alert for is noted, and told. It never costs the publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.alerts.check import check_alerts
from tasks.alerts.hook import Call, HookError, hook_call, persistently
from tasks.alerts.ledger import DELIVERED, PENDING, Ledger, bring_up
from tasks.config.errors import LineageError, PipelineError
from tasks.config.moments import steps_in
from tasks.config.outcome import AlertsSummary, RunSummary
from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.tables.alerts import change_alerts, read_alerts

_MOST_TOLD = 20
_AT_ONCE = 20
_GIVES_UP = 3
_PASSING = (PipelineError, OSError, pl.exceptions.PolarsError)
_LATER = "The next run notes and tells what this one did not."


def alert(settings: Settings, said: RunSummary | None = None) -> AlertsSummary:
    """Note what is new and tell whoever listens; what goes wrong is said, and made good by the next run.

    What a run found that has ``said`` how it went stands for its moment, whatever runs before it found.
    """
    say("alert")
    try:
        ledger = bring_up(settings, said)
        failed = deliver(settings)
        known = read_alerts(settings.output.states, settings.name)
    except _PASSING as error:
        return {"failed": f"{error} {_LATER}"}
    return _summary(ledger, known, failed)


def note_alerts(settings: Settings) -> AlertsSummary:
    """Note what is new and tell nobody: the nights of a backfill are over."""
    try:
        ledger = bring_up(settings)
    except _PASSING as error:
        return {"failed": f"{error} {_LATER}"}
    return _summary(ledger, ledger.alerts, None)


alert_task = task(name="alert", cache_policy=NO_CACHE)(alert)


def deliver(settings: Settings, call: Call | None = None) -> str | None:
    """Tell what is pending, those first that were tried least; the first reason why one was not taken.

    An alert may be told again that was taken by a run which was stopped before it could note so: its ``alert_id`` is
    the same. Three in a row that are not taken are enough for one run.
    """
    hook, states, name = settings.alerts.hook, settings.output.states, settings.name
    if hook is None:
        return None
    pending = read_alerts(states, name).filter(pl.col("delivery") == PENDING)
    waiting = pending.sort("attempts", "as_of", "time", "alert_id")
    call = persistently(hook_call(hook) if call is None else call, hook)
    reason, in_a_row = None, 0
    for part in waiting.iter_slices(_AT_ONCE):
        taken, refused = list[str](), list[str]()
        try:
            for row in steps_in(as_json(part)) if settings.source.counts_steps else as_json(part):
                if in_a_row == _GIVES_UP:
                    return reason
                try:
                    call({**row, "states_table": states})
                    taken.append(row["alert_id"])
                    in_a_row = 0
                except HookError as error:
                    refused.append(row["alert_id"])
                    reason, in_a_row = reason or str(error), in_a_row + 1
        finally:
            _note(states, name, taken, refused)
    return reason


def as_json(alerts: pl.DataFrame) -> list[dict[str, Any]]:
    """Alerts as they are told and printed: times in ISO 8601."""
    return alerts.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).to_dicts()


def _note(states: str, model_name: str, taken: list[str], refused: list[str]) -> None:
    if not taken and not refused:
        return
    is_taken = pl.col("alert_id").is_in(pl.Series(taken, dtype=pl.String).implode())
    was_tried = pl.col("alert_id").is_in(pl.Series([*taken, *refused], dtype=pl.String).implode())

    def tried(known: pl.DataFrame) -> pl.DataFrame:
        return known.with_columns(
            pl.when(is_taken).then(pl.lit(DELIVERED)).otherwise("delivery").alias("delivery"),
            (pl.col("attempts") + was_tried.cast(pl.Int32)).alias("attempts"),
        )

    change_alerts(states, model_name, tried)


def _summary(ledger: Ledger, known: pl.DataFrame, failed: str | None) -> AlertsSummary:
    new = known.filter(pl.col("alert_id").is_in(pl.Series(ledger.new, dtype=pl.String).implode()))
    told: AlertsSummary = {
        "n_new": len(new),
        "n_open": known.filter(pl.col("released").is_null()).height,
        "n_pending": known.filter(pl.col("delivery") == PENDING).height,
        "new": as_json(new.sort("delivery", "time").tail(_MOST_TOLD)),
    }
    return told if failed is None else {**told, "failed": f"{failed}; what is pending is told by the next run."}


def alerted(settings: Settings, work: Callable[[], Any], step: Callable[..., AlertsSummary]) -> Any:
    """What ``work`` says of itself, and what its alerts came to.

    Of work that fails, too, what is due is noted and told: that every series was set aside is the gravest alert of all.
    Not of work that is refused since a configuration does not fit the rows that are published.
    """
    check_alerts(settings)
    try:
        summary = work()
    except LineageError:
        raise
    except PipelineError:
        step(settings)
        raise
    return {**summary, "alerts": step(settings, summary)}
