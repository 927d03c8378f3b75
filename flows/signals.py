"""Signals that end a run, also where Python has nobody to tell: in a finaliser, whose exceptions it ignores."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

_SOON = 0.05  # seconds, in which the finaliser returns


@contextmanager
def heard() -> Iterator[None]:
    """Within this context a SIGTERM or SIGINT whose exception was ignored is sent once more."""
    from prefect.exceptions import TerminationSignal

    before = sys.unraisablehook

    def again(ignored: Any) -> None:
        number = {TerminationSignal: signal.SIGTERM, KeyboardInterrupt: signal.SIGINT}.get(ignored.exc_type)
        if number is None:
            before(ignored)
            return
        later = Timer(_SOON, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
