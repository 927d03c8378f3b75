"""Upkeep of the tables: small files become large ones, and files that no reader needs any more are removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.errors import ConfigurationError
from tasks.config.outcome import Maintenance
from tasks.config.patience import PATIENTLY
from tasks.config.settings import Settings
from tasks.tables.commit import tidy_table
from tasks.tables.places import every_table, fits_folder, is_local
from tasks.tables.results import forget_results

SAFE_DAYS = 7
_DAY = 86_400


def maintain(settings: Settings, keep_days: int = SAFE_DAYS) -> Maintenance:
    """Compact the state table and its companions, and remove what has been superseded for ``keep_days``.

    Readers of any commit of that time keep all they need, and so do writers; nothing younger goes. No row changes;
    those of results go that are older than ``output.keep_results``.
    Raises ``ConfigurationError`` for less than seven days.
    """
    if keep_days < SAFE_DAYS:
        raise ConfigurationError(
            f"--keep-days: found {keep_days}; expected at least {SAFE_DAYS}: readers and runs at work need the files."
        )
    states = settings.output.states
    n_forgotten = forget_results(states, settings.name, settings.output.keep_results)
    tidied = {table: done for table in every_table(states) if (done := tidy_table(table, keep_days)) is not None}
    return {
        "model_name": settings.name,
        "states_table": states,
        "tables": tidied,
        "n_forgotten_results": n_forgotten,
        "n_forgotten_fits": sum(map(_remove, _abandoned(settings, keep_days))),
    }


maintain_task = task(name="maintain", cache_policy=NO_CACHE, **PATIENTLY)(maintain)


def _abandoned(settings: Settings, keep_days: int) -> Iterator[Path]:
    """Fits, and copies that were never finished, of runs that nobody ran again."""
    states = settings.output.states
    store = fits_folder(states, settings.name)
    beside = Path(states.rstrip("/"))
    unfinished = beside.parent.glob(f".{beside.name}_champion-*") if is_local(states) else ()
    oldest = time.time() - keep_days * _DAY
    yield from (path for path in [*store.glob("*"), *unfinished] if path.stat().st_mtime < oldest)


def _remove(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
