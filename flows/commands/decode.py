"""New rows under the champion."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

from cyclopts import Parameter

from flows.commands.answer import print_json
from flows.commands.flow import run_flow, unless_answered
from flows.commands.options import AsJson, AsOf, Assignments, Config
from flows.console import print_run
from tasks.config.outcome import RunSummary


def decode(
    config: Config,
    *,
    as_of: AsOf = None,
    new_lineage: Annotated[bool, Parameter(negative="")] = False,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Publish the states of new rows under the champion, without a fit.

    Parameters
    ----------
    new_lineage
        Go back to rows that meant something else: their line goes on in this table.
    """
    began = time.monotonic()
    from tasks.config.settings import read_outline

    settings = read_outline(config, set_ or ())
    load = partial(_decode_new, new_lineage)
    work = partial(run_flow, load, config, (as_of,), set_, as_of=as_of, new_lineage=new_lineage, draws=False)
    summary = unless_answered("decode", settings, as_of, work, anew=new_lineage)
    summary["seconds"] = round(time.monotonic() - began, 1)
    print_run(summary, settings)
    print_json(summary, json_, counted=settings.source.counts_steps)


def _decode_new(new_lineage: bool) -> Callable[..., RunSummary]:
    from flows.decoding import decode_new

    return partial(decode_new, new_lineage=new_lineage)
