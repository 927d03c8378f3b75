"""The arguments and options that several commands take, each said once."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Config = Annotated[str, Parameter(help="A TOML configuration.")]
Model = Annotated[
    str,
    Parameter(
        help="Its configuration; or its name, where the tracking server is the default one or HSMM_TRACKING__URI says "
        "which.",
    ),
]
AsOf = Annotated[
    str | None,
    Parameter(
        help="A date or moment, or where steps are counted the number of one; nothing later is used. By default the "
        "moment the source's newest row became known.",
    ),
]
NewLineage = Annotated[
    bool,
    Parameter(
        name="--new-lineage",
        negative="",
        help="Rows mean something else from now on (other features, steps or scales): begin a new line of them in this "
        "table.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        help="section.key=value, over file and environment; repeatable, the last wins.",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="End standard output with one JSON object.")]
