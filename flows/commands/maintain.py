"""Tables made small."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments, Config
from flows.console import print_line


def maintain(config: Config, *, keep_days: int = 7, set_: Assignments = None, json_: AsJson = False) -> None:
    """Compact the tables, and remove files that no reader needs.

    Parameters
    ----------
    keep_days
        Files that were in use this many days ago or later stay; at least 7.
    """
    from tasks.config.settings import read_outline
    from tasks.tables.maintain import maintain as tidy

    said = tidy(read_outline(config, set_ or ()), keep_days)
    for table, done in said["tables"].items():
        print_line(f"{table}  {done['n_merged']} files merged, {done['n_removed']} removed")
    print_json(said, json_)
