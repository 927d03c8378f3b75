"""What each past day would have known."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answer import print_json
from flows.commands.flow import asked_moment, run_flow
from flows.commands.options import AsJson, Assignments, Config, NewLineage
from flows.console import print_backfill
from tasks.config.errors import FitError
from tasks.config.outcome import BackfillSummary

if TYPE_CHECKING:
    from tasks.config.settings import Settings


def backfill(
    config: Config,
    *,
    start: str,
    end: str,
    every: str = "1mo",
    walk_forward: Annotated[bool, Parameter(negative="")] = False,
    new_lineage: NewLineage = False,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Publish what each past day would have known; what is there is skipped, so it can be stopped and run again.

    Parameters
    ----------
    start
        The first day; where steps are counted, the number of one.
    end
        The last day, included. From a month's end, months go to their ends.
    every
        The step: 1d, 1w, 1mo, 1q or 1y; where steps are counted, a number of them.
    walk_forward
        Fit at each step and decode up to the next, so that every row is out of sample: an honest backtest.
    """
    began = time.monotonic()
    summary = run_flow(
        partial(_backfill, walk_forward, new_lineage),
        config,
        (start, end, every),
        set_,
        check=partial(_check, start, end, every),
        new_lineage=new_lineage,
    )
    summary["seconds"] = round(time.monotonic() - began, 1)
    from tasks.config.settings import read_outline

    counted = read_outline(config, set_ or ()).source.counts_steps
    print_backfill(summary, counted=counted)
    print_json(summary, json_, counted=counted)
    _require_some(summary)


def _check(start: str, end: str, every: str, settings: Settings) -> None:
    first, last = asked_moment(start, settings, "--start"), asked_moment(end, settings, "--end")
    from tasks.tables.partitions import partitions

    partitions(first, last, every, counted=settings.source.counts_steps)


def _require_some(summary: BackfillSummary) -> None:
    """Raise ``FitError`` if the table holds none of the partitions."""
    if summary["failed"] and not any(partition["status"] == "DONE" for partition in summary["partitions"]):
        raise FitError("no partition could be published; the reasons are above.")


def _backfill(walk_forward: bool, new_lineage: bool) -> Callable[..., BackfillSummary]:
    from flows.backfill import backfill

    return partial(backfill, walk_forward=walk_forward, new_lineage=new_lineage)
