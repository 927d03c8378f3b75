"""The options that every command takes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Assignments = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        help="section.key=value, over file and environment; repeatable, the last wins.",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="End standard output with one JSON object.")]
NewLineage = Annotated[bool, Parameter(name="--new-lineage", negative="")]
