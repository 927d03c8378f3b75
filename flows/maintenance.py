"""Upkeep between the nights: compact the tables, remove what no reader needs."""

from __future__ import annotations

from prefect import flow

from tasks.config.outcome import Maintenance
from tasks.config.settings import read_settings
from tasks.tables.maintain import SAFE_DAYS, maintain_task


@flow(name="maintenance", validate_parameters=True)
def maintenance(config: str, keep_days: int = SAFE_DAYS, overrides: list[str] | None = None) -> Maintenance:
    """Compact the configuration's tables, and remove files that nothing has referred to for ``keep_days``."""
    return maintain_task(read_settings(config, overrides or ()), keep_days)
