"""A flow as a command: mistakes are told before it starts, its temporary server starts beside the imports."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from tasks.config.errors import PipelineError

if TYPE_CHECKING:
    from tasks.config.settings import Settings

Said = TypeVar("Said")

_QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # of Prefect's loggers and its services'
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def hush() -> None:
    """Keep services from speaking on the user's terminal; what the environment says already stands.

    A server that outlives the command keeps the run's log.
    """
    if "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})


def run_flow(
    load: Callable[[], Callable[..., Said]],
    config: str,
    arguments: tuple[str | None, ...],
    assignments: Sequence[str] | None,
    *,
    as_of: str | None = None,
    check: Callable[[Settings], object] | None = None,
) -> Said:
    """What a flow says of itself; mistakes in configuration and source (as of a moment) are told before it starts, and
    those of the command line, which ``check`` finds besides, before anything is loaded.

    ``load`` imports it, and it is called with the configuration, its own arguments and the assignments.
    """
    hush()
    from flows.progress_display import display
    from tasks.config.progress import say
    from tasks.config.settings import read_outline, read_settings

    outline = read_outline(config, assignments or ())
    if as_of is not None:
        asked_moment(as_of, outline)
    if check is not None:
        check(outline)
    settings = read_settings(config, assignments or ())
    with display():
        say("start")
        from tasks.alerts.step import check_alerts
        from tasks.source.ingest import check_source
        from tasks.tables.output import check_output

        check_alerts(settings)
        check_source(settings, as_of)
        check_output(settings.output.states)
        if settings.fit.device == "cuda":
            from tasks.fitting.candidates import check_candidates

            check_candidates(settings)
        from flows.server import server_starting

        ready = server_starting()
        flow = load()
        _use_the_wait(ready)
        return orchestrated(ready, lambda: flow(config, *arguments, assignments))


def asked_moment(text: str, settings: Settings, option: str = "--as-of") -> datetime:
    """The moment that an option names."""
    from tasks.config.moments import parse_as_of

    return parse_as_of(text, settings.source.timezone, counted=settings.source.counts_steps, option=option)


def orchestrated(ready: Future[None], flow: Callable[[], Said]) -> Said:
    """The flow's result; an orchestrator that cannot be reached is the user's to mend, not a bug of ours."""
    try:
        ready.result()
        return flow()
    except RuntimeError as error:
        if "API" not in str(error):
            raise
        raise PipelineError(
            f"Prefect: {error}; start its server, or unset PREFECT_API_URL to run without one."
        ) from error


def _use_the_wait(ready: Future[None]) -> None:
    """Import what the job needs last while the server starts: that takes seconds, and another core is at work."""
    from tasks.registry.client import load_mlflow
    from tasks.report.pictures import load_matplotlib

    for load in (load_mlflow, load_matplotlib):
        if not ready.done():
            load()
