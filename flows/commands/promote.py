"""A version becomes the champion."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments, Model
from flows.commands.registered import registered
from flows.console import print_line


def promote(model: Model, *, version: int | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Make a registered version the champion, if its gate said PROMOTE and it can be loaded and used.

    Parameters
    ----------
    version
        By default the newest.
    """
    from tasks.judgement.promote import promote as move

    registry, model, table = registered(model, set_)
    said = move(registry, model, version, table=table)
    same = said["previous"] == said["model_version"]
    before = "it was already" if same else f"before: {said['previous'] or 'none'}"
    print_line(f"champion   {model} version {said['model_version']} ({before})")
    print_json(said, json_)
