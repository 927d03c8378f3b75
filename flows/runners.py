"""Shards fitted by workers beside each other, through Prefect's task runners."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.config.errors import ConfigurationError, FitError, PipelineError
from tasks.config.progress import say
from tasks.config.sections.run import Run
from tasks.config.settings import Settings
from tasks.judgement.shards import fit_shards_task, is_fitted, use_threads

_MOST_TASKS = 100
_ROUNDS = 3
_PATIENCE = 10.0  # seconds


def check_runner(run: Run) -> None:
    """Raises ``ConfigurationError`` for a runner that is not installed, or does not answer at its address."""
    if run.runner in ("dask", "ray") and find_spec(f"prefect_{run.runner}") is None:
        raise ConfigurationError(
            f"run.runner: {run.runner!r} needs packages that are not installed: pip install 'hsmm-flows[{run.runner}]'."
        )
    if run.address is None:
        return
    where = urlsplit(run.address)
    try:
        socket.create_connection((str(where.hostname), where.port or 0), timeout=_PATIENCE).close()
    except (OSError, ValueError, OverflowError):
        raise ConfigurationError(
            f"run.address: {run.address!r} cannot be reached: nothing answers there; expected the address of a running "
            "Dask scheduler."
        ) from None


def chosen_runner(settings: Settings, n_shards: int) -> Run:
    """Who fits so many shards: what the configuration says, or else processes where these are faster.

    A night for which a GPU fits goes through one process, since one has its memory at a time.
    """
    run = settings.run
    if run.runner is not None:
        return run
    beside = min(n_shards, run.workers or _n_cores()) > 1 and settings.fit.device != "cuda"
    return Run(**{**run.model_dump(), "runner": "process"}) if beside else run


def fit_beside(settings: Settings, run: Run, folders: Sequence[str]) -> None:
    """Have workers fit the shards that are not, as ``run`` says; what one that dies leaves goes to another.

    Raises ``FitError`` when three workers in a row did not fit what they were given.
    """
    reason: Exception | None = None
    for _ in range(_ROUNDS):
        left = [folder for folder in folders if not is_fitted(folder)]
        if not left:
            return
        reason = _round(settings, run, left, len(folders)) or reason
    if any(not is_fitted(folder) for folder in folders):
        raise FitError(
            f"run.runner: workers did not fit all shards: {str(reason).rstrip('.')}; what is fitted is kept. Where "
            "memory was short, fewer `run.workers` or a smaller `run.shard_series` need less."
        ) from reason


def _round(settings: Settings, run: Run, left: Sequence[str], n_shards: int) -> Exception | None:
    """Each shard that is left is given out once; why one of them was not fitted."""
    places = [str(Path(folder).absolute()) for folder in left]
    pieces = [places[i::_MOST_TASKS] for i in range(min(_MOST_TASKS, len(places)))]
    reason = None
    with get_client(sync_client=True) as client:
        server = str(client.api_url)
    with temporary_settings({PREFECT_API_URL: server}), _started(run, len(left)) as runner:
        given = [runner.submit(fit_shards_task, {"settings": settings, "folders": piece}) for piece in pieces]
        for future in given:
            say("fit", n_shards - sum(not is_fitted(place) for place in places), n_shards, f"{n_shards} shards")
            try:
                future.result()
            except PipelineError:
                raise
            except Exception as error:  # whatever befalls a worker, and a shard's own fault in the last round
                reason = error
    return reason


def _started(run: Run, n_shards: int) -> Any:
    n_workers = run.workers or min(_n_cores(), n_shards)
    if run.runner == "dask":
        from prefect_dask import DaskTaskRunner

        if run.address is not None:
            return DaskTaskRunner(address=run.address)
        here = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": None}
        return DaskTaskRunner(cluster_kwargs=here)
    if run.runner == "ray":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        from prefect_ray import RayTaskRunner

        return RayTaskRunner(init_kwargs={"num_cpus": n_workers, "include_dashboard": False})
    from prefect.task_runners import ProcessPoolTaskRunner

    share = max(1, _n_cores() // n_workers)
    return ProcessPoolTaskRunner(max_workers=n_workers, initializer=use_threads, initargs=(share,))


def _n_cores() -> int:
    return os.cpu_count() or 1
