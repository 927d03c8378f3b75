"""Names of states."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments, Config
from flows.console import print_line


def name(config: Config, *names: str, set_: Assignments = None, json_: AsJson = False) -> None:
    """Give persistent states their names, such as 0=calm 2=crisis.

    Parameters
    ----------
    names
        state=name, as many as you like.
    """
    from tasks.config.settings import read_outline
    from tasks.tables.latest import tell_latest
    from tasks.tables.show import named_states, rename

    settings = read_outline(config, set_ or ())
    rename(settings, names)
    known, notes = named_states(settings), list[str]()
    tell_latest(settings, notes)
    print_line("\n".join([*(f"{state}  {known[state]}" for state in sorted(known)), *notes]))
    print_json({"model_name": settings.name, "names": {str(state): known[state] for state in sorted(known)}}, json_)
