"""The last line of a command that was asked for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from flows.console import print_line


def print_json(said: Mapping[str, object], wanted: bool) -> None:
    """One JSON object on a line of its own, where it is wanted."""
    if wanted:
        print_line(json.dumps(said))
