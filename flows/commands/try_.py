"""A night without consequences."""

from __future__ import annotations

import time

from flows.commands.answer import print_json
from flows.commands.flow import check_source_early, checked_outline, hush
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
    from tasks.config.settings import read_settings

    outline = checked_outline(config, set_, as_of)
    with display():
        check_source_early(outline, as_of)
        settings = read_settings(config, set_ or ())
        from tasks.report.rehearsal import rehearse

        said = rehearse(settings, as_of, output)
    said["seconds"] = round(time.monotonic() - began, 1)
    print_try(said, counted=settings.source.counts_steps)
    print_json(said, json_, counted=settings.source.counts_steps)
