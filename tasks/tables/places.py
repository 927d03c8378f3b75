"""Where the state table is, and what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tasks.config.columns import (
    ALERT_COLUMNS,
    DRIFT_COLUMNS,
    NAME_COLUMNS,
    QUARANTINE_COLUMNS,
    RESULT_COLUMNS,
    RUN_COLUMNS,
    SAMPLE_COLUMNS,
    STATE_COLUMNS,
    Kind,
)


def quarantine_table(states: str) -> str:
    """The table of series set aside, beside the state table."""
    return f"{states.rstrip('/')}_quarantine"


def names_table(states: str) -> str:
    """The table of the states' names, beside the state table."""
    return f"{states.rstrip('/')}_names"


def runs_table(states: str) -> str:
    """The table of what became of each run, beside the state table."""
    return f"{states.rstrip('/')}_runs"


def alerts_table(states: str) -> str:
    """The table of alerts, beside the state table."""
    return f"{states.rstrip('/')}_alerts"


def drift_table(states: str) -> str:
    """The table of inputs that were no longer what they had been, beside the state table."""
    return f"{states.rstrip('/')}_drift"


def results_table(states: str) -> str:
    """The table of what was fitted, beside the state table."""
    return f"{states.rstrip('/')}_results"


def sample_table(states: str) -> str:
    """The table of a few rows of each series as they were read, beside the state table."""
    return f"{states.rstrip('/')}_sample"


def every_table(states: str) -> dict[str, Mapping[str, Kind]]:
    """The state table and its companions, and the columns of each."""
    return {
        states: STATE_COLUMNS,
        quarantine_table(states): QUARANTINE_COLUMNS,
        names_table(states): NAME_COLUMNS,
        runs_table(states): RUN_COLUMNS,
        alerts_table(states): ALERT_COLUMNS,
        drift_table(states): DRIFT_COLUMNS,
        results_table(states): RESULT_COLUMNS,
        sample_table(states): SAMPLE_COLUMNS,
    }


def fits_folder(states: str, model_name: str) -> Path:
    """Where finished fits are kept: beside the state table, or under ``out`` if that is not on this machine."""
    base = states.rstrip("/") if is_local(states) else f"out/{model_name}"
    return Path(f"{base}_fits")


def is_local(location: str) -> bool:
    """Whether a table lies in this machine's file system."""
    return "://" not in location
