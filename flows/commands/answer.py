"""The last line of a command that was asked for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flows.console import print_line
from tasks.config.moments import steps_in

_FOR_LATER = ("reads", "step")


def print_json(said: Mapping[str, object], wanted: bool, *, counted: bool = False) -> None:
    """One JSON object on a line of its own, where it is wanted; where steps are ``counted``, moments are numbers.

    What is kept for later runs alone is left out.
    """
    if wanted:
        said = {name: value for name, value in said.items() if name not in _FOR_LATER}
        print_line(json.dumps(steps_in(said) if counted else said))
