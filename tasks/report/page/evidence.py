"""What the run recorded about state identity and about its gate, as it stands in the publish's own words."""

from __future__ import annotations

from typing import Any

from tasks.report.page.text import plain

_LONGEST = 300
_MOST = 200


def recorded(found: Any) -> list[tuple[str, str]]:
    """Key and value of everything in a recorded mapping, nested keys joined by dots, but nothing of what is
    empty.
    """
    if not isinstance(found, dict):
        return []
    return [(key[:_LONGEST], value[:_LONGEST]) for key, value in _flat(found)][:_MOST]


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            leaves += _flat(value, f"{prefix}{key}.")
        elif value not in ({}, []):
            leaves.append((f"{prefix}{key}", plain(value)))
    return leaves
