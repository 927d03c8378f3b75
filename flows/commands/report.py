"""The page."""

from __future__ import annotations

import sys
import time

from flows.commands.answer import print_json
from flows.commands.flow import hush
from flows.commands.options import AsJson, Assignments, Config
from flows.console import print_line


def report(config: Config, *, series: str | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Write one self-contained HTML page of what is published.

    Parameters
    ----------
    series
        The series, and the model of it, that the page opens with.
    """
    began = time.monotonic()
    hush()
    from tasks.config.settings import read_settings

    settings = read_settings(config, set_ or ())
    from tasks.report.page.recorded import recorded_report

    summary = recorded_report(settings, series)
    summary["seconds"] = round(time.monotonic() - began, 1)
    for note in summary["notes"]:
        sys.stderr.write(f"{note}\n")
    print_line(f"report     {summary['report']}")
    print_json(summary, json_, counted=settings.source.counts_steps)
