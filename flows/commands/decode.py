"""New rows under the champion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.commands.answer import print_json
from flows.commands.flow import run_flow
from flows.commands.options import AsJson, Assignments
from flows.console import print_run


def decode(config: str, *, as_of: str | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Publish the states of new rows under the champion, without a fit.

    Parameters
    ----------
    config
        A TOML configuration.
    as_of
        A date or moment; nothing later is used. By default the moment the source's newest row became known.
    """

    def load() -> Callable[..., Any]:
        from flows.decoding import decode_new

        return decode_new

    summary, settings = run_flow(load, config, as_of, set_, (as_of,))
    print_run(summary, settings.tracking.uri)
    print_json(summary, json_)
