"""A night without consequences."""

from __future__ import annotations

import time

from flows.commands.answer import print_json
from flows.commands.flow import asked_moment, hush
from flows.commands.options import AsJson, AsOf, Assignments, Config
from flows.console import print_try


def try_(
    config: Config,
    *,
    as_of: AsOf = None,
    output: str | None = None,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Fit, judge and draw as a night would, and publish and register nothing; needs no Prefect and no MLflow.

    Parameters
    ----------
    output
        The folder for page and pictures; by default beside the state table, <states>_try.
    """
    began = time.monotonic()
    hush()
    from flows.progress_display import display
    from tasks.config.progress import say
    from tasks.config.settings import read_outline, read_settings

    outline = read_outline(config, set_ or ())
    if as_of is not None:
        asked_moment(as_of, outline)
    settings = read_settings(config, set_ or ())
    with display():
        say("start")
        from tasks.report.rehearsal import rehearse

        said = rehearse(settings, as_of, output)
    said["seconds"] = round(time.monotonic() - began, 1)
    print_try(said, counted=settings.source.counts_steps)
    print_json(said, json_, counted=settings.source.counts_steps)
