"""Fit, choose, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from flows.commands.answer import print_json
from flows.commands.flow import run_flow, unless_answered
from flows.commands.options import AsJson, AsOf, Assignments, Config, NewLineage
from flows.console import print_run
from tasks.config.outcome import RunSummary


def run(
    config: Config,
    *,
    as_of: AsOf = None,
    new_lineage: NewLineage = False,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Fit the candidates, choose one, and publish the states of every series."""
    began = time.monotonic()
    from tasks.config.settings import read_outline

    settings = read_outline(config, set_ or ())
    load = partial(_nightly, new_lineage)
    work = partial(run_flow, load, config, (as_of,), set_, as_of=as_of, new_lineage=new_lineage)
    summary = unless_answered("run", settings, as_of, work, anew=new_lineage)
    summary["seconds"] = round(time.monotonic() - began, 1)
    print_run(summary, settings)
    print_json(summary, json_, counted=settings.source.counts_steps)


def _nightly(new_lineage: bool) -> Callable[..., RunSummary]:
    from flows.nightly import nightly

    return partial(nightly, new_lineage=new_lineage)
