"""A first configuration."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.flow import hush
from flows.commands.options import AsJson, Assignments
from flows.console import print_look


def init(source: str, *, output: str | None = None, set_: Assignments = None, json_: AsJson = False) -> None:
    """Look at a source and write a configuration for it that says why each line is as it is.

    Parameters
    ----------
    source
        A CSV or Parquet file, a glob, a folder or a Delta table.
    output
        The configuration's path; by default named after the source. Nothing is replaced.
    """
    hush()
    from tasks.source.parts import check_there

    if not source.endswith(".toml"):
        check_there(source)
    from tasks.source.look.write import look_and_write

    said = look_and_write(source, output, set_ or ())
    print_look(said)
    print_json(said, json_)
