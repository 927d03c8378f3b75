"""The table of alerts, and up to where they were judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
from deltalake import DeltaTable, Transaction

from tasks.config.columns import ALERT_COLUMNS
from tasks.tables.commit import commit_rows
from tasks.tables.places import alerts_table
from tasks.tables.storage import open_table, rows_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class JudgedUntil:
    """Up to which version of the state table, and which night, alerts were judged."""

    version: int
    night: datetime


def judged_until(states: str, model_name: str) -> JudgedUntil | None:
    """Up to where alerts of this model were judged; ``None`` if they never were."""
    table = open_table(alerts_table(states), ALERT_COLUMNS)
    if table is None or (version := table.transaction_version(f"judged {model_name}")) is None:
        return None
    moment = table.transaction_version(f"judged nights {model_name}") or 0
    return JudgedUntil(version, _EPOCH + timedelta(microseconds=moment))


def alerts_mark(states: str) -> str:
    """What differs once any alert has come, gone, or been told."""
    table = open_table(alerts_table(states), ALERT_COLUMNS)
    return "none" if table is None else str(table.version())


def change_alerts(
    states: str,
    model_name: str,
    changed: Callable[[pl.DataFrame], pl.DataFrame],
    judged: JudgedUntil | None = None,
) -> None:
    """Let this model's alerts become what ``changed`` makes of them as they stand, in one commit that notes up to where
    they were ``judged``.
    """

    def wanted(table: DeltaTable | None) -> pl.DataFrame:
        return changed(_alerts(table, model_name))

    notes = []
    if judged is not None:
        moment = (judged.night - _EPOCH) // timedelta(microseconds=1)
        notes = [
            Transaction(f"judged {model_name}", judged.version),
            Transaction(f"judged nights {model_name}", moment),
        ]
    own = f"model_name = '{model_name}'"
    commit_rows(alerts_table(states), ALERT_COLUMNS, None, wanted, replaces=own, notes=notes)


def read_alerts(states: str, model_name: str) -> pl.DataFrame:
    """Every alert of this model, oldest first; empty where there was none."""
    return _alerts(open_table(alerts_table(states), ALERT_COLUMNS), model_name)


def _alerts(table: DeltaTable | None, model_name: str) -> pl.DataFrame:
    return rows_of(table, ALERT_COLUMNS, model_name).sort("as_of", "time", "alert_id")
