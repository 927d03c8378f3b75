"""A flow as a command: mistakes are told before it starts, its temporary server starts beside the imports."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from tasks.config.errors import PipelineError

if TYPE_CHECKING:
    from tasks.config.outcome import RunSummary
    from tasks.config.settings import Settings
    from tasks.judgement.unchanged import Command

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

    A server that outlives the command keeps the run's log. That a store's region is asked of the store is its business.
    """
    warnings.filterwarnings("ignore", message=r"'\(default_\)region' not set", category=UserWarning)
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
    new_lineage: bool = False,
    draws: bool = True,
) -> Said:
    """What a flow says of itself; mistakes in configuration and source (as of a moment) are told before it starts.

    ``load`` imports it, and it is called with the configuration, its own arguments and the assignments; ``check``
    finds mistakes of the command line; ``new_lineage`` says that rows may mean something else than those that are
    published; ``draws`` says whether it needs what draws.
    """
    hush()
    from flows.progress_display import display
    from tasks.config.settings import read_settings

    outline = checked_outline(config, assignments, as_of, check)
    with display():
        from tasks.alerts.check import check_alerts
        from tasks.tables.lines import check_meaning
        from tasks.tables.output import check_output

        check_output(outline.output.states)
        check_alerts(outline)
        check_source_early(outline, as_of)
        check_meaning(outline, new=new_lineage)
        settings = read_settings(config, assignments or ())
        from tasks.tables.latest import check_latest

        check_latest(settings)
        if settings.fit.device == "cuda":
            from tasks.fitting.candidates import check_candidates

            check_candidates(settings)
        from flows.server import server_starting

        ready = server_starting()
        flow = load()
        _use_the_wait(ready, draws=draws)
        from flows.signals import heard

        with heard():
            return orchestrated(ready, lambda: flow(config, *arguments, assignments))


def unless_answered(
    command: Command, settings: Settings, as_of: str | None, work: Callable[[], RunSummary], *, anew: bool
) -> RunSummary:
    """What a command answered when nothing has changed since, unless it is to be done ``anew``; else what it says."""
    if as_of is not None:
        asked_moment(as_of, settings)
    from tasks.judgement.unchanged import Question

    question = Question.asked(settings, as_of, command)
    summary = None if anew else question.answer()
    if summary is None:
        summary = work()
        question.note(summary)
    return summary


def checked_outline(
    config: str,
    assignments: Sequence[str] | None,
    as_of: str | None = None,
    check: Callable[[Settings], object] | None = None,
) -> Settings:
    """The configuration, if it and the command line are right as far as can be told without the library."""
    from tasks.config.settings import read_outline

    outline = read_outline(config, assignments or ())
    if as_of is not None:
        asked_moment(as_of, outline)
    if check is not None:
        check(outline)
    return outline


def check_source_early(outline: Settings, as_of: str | None) -> None:
    """Raises for a source that is not as the configuration says, or has no row then, before what fits is loaded."""
    from tasks.config.progress import say

    say("start")
    from tasks.source.seen import check_early

    check_early(outline, as_of)


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


def _use_the_wait(ready: Future[None], *, draws: bool) -> None:
    """Import what the job needs last while the server starts: that takes seconds, and another core is at work."""
    from tasks.registry.client import load_mlflow

    if not ready.done():
        load_mlflow()
    if draws and not ready.done():
        from tasks.report.pictures import load_matplotlib

        load_matplotlib()
