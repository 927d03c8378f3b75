"""The champion before becomes the champion again."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments, Model
from flows.commands.registered import registered
from flows.console import print_line


def rollback(model: Model, *, set_: Assignments = None, json_: AsJson = False) -> None:
    """Make the champion before the present one the champion again."""
    from tasks.judgement.promote import rollback as move

    registry, model, table = registered(model, set_)
    said = move(registry, model, table)
    now = said["model_version"]
    told = f"version {now}" if now is not None else "none, the next run begins with new states"
    print_line(f"champion   {model} {told} (before: {said['previous']})")
    print_json(said, json_)
