"""Fit, choose, publish."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from flows.commands.answer import print_json
from flows.commands.flow import run_flow
from flows.commands.options import AsJson, Assignments
from flows.console import print_run


def run(
    config: str,
    *,
    as_of: str | None = None,
    new_lineage: bool = False,
    set_: Assignments = None,
    json_: AsJson = False,
) -> None:
    """Fit the candidates, choose one, and publish the states of every series.

    Parameters
    ----------
    config
        A TOML configuration.
    as_of
        A date or moment; nothing later is used. By default the moment the source's newest row became known.
    new_lineage
        Rows mean something else from now on (other features, steps or scales): begin a new line of them in this table.
    """

    def load() -> Callable[..., Any]:
        from flows.nightly import nightly

        return partial(nightly, new_lineage=new_lineage)

    summary, settings = run_flow(load, config, as_of, set_, (as_of,))
    print_run(summary, settings.tracking.uri)
    print_json(summary, json_)
