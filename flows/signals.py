"""Signals that end a run, also where Python has nobody to tell: in a finaliser, whose exceptions it ignores."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer, current_thread, main_thread
from typing import Any

_STOPPED = b"hsmm: stopped; run it again to go on.\n"
_SOON = 0.05  # seconds, in which the finaliser returns


class Terminated(BaseException):
    """A SIGTERM, as an exception: what was begun is cleared away before it ends the process."""


@contextmanager
def cleared_away() -> Iterator[None]:
    """Within this context a SIGTERM ends the process as it would without, once every context within is left.

    It says so on standard error; processes that it made say nothing.
    """
    own = os.getpid()
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def ends(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, ends)
    try:
        yield
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() == own:
            with suppress(OSError):
                os.write(2, _STOPPED)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def heard() -> Iterator[None]:
    """Within this context a SIGTERM or SIGINT whose exception was ignored is sent once more."""
    from prefect.exceptions import TerminationSignal

    before, ended = sys.unraisablehook, dict.fromkeys((TerminationSignal, Terminated), signal.SIGTERM)

    def again(ignored: Any) -> None:
        number = {**ended, KeyboardInterrupt: signal.SIGINT}.get(ignored.exc_type)
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
