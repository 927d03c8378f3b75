"""Turns at a table: nights go beside each other, a backfill goes alone.

A night that came between two days of a backfill would publish the days to come under its own, later moment.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.config.progress import say
from tasks.config.settings import Settings
from tasks.tables.latest import check_latest
from tasks.tables.output import check_output
from tasks.tables.places import is_local

_NO_TURN = (
    "the table is not on this machine, so no night waits for a backfill: let none run meanwhile, or what it publishes "
    "of the days to come keeps its later moment."
)


@contextmanager
def in_turn(settings: Settings, *, alone: bool = False) -> Iterator[list[str]]:
    """Waits until nobody is at work at this model's rows who must not be, and keeps the turn within this context.

    The system gives up the turn of a process that is killed. A table that is not on this machine has no turns: whoever
    wants one ``alone`` is told so, at once and as a note in the list that this context gives.
    """
    states = settings.output.states
    check_output(states)
    check_latest(settings)
    if not is_local(states):
        if alone:
            say("no_turn", label=_NO_TURN)
        yield [_NO_TURN] if alone else []
        return
    table = Path(states.rstrip("/"))
    table.parent.mkdir(parents=True, exist_ok=True)
    with (table.parent / f".{table.name}_{settings.name}.turn").open("a") as turn:
        wanted = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(turn, wanted | fcntl.LOCK_NB)
        except BlockingIOError:
            say("turn", label="a run of the same rows" if alone else "a backfill of the same rows")
            fcntl.flock(turn, wanted)
        yield []
