"""Where long steps say how far they are; whoever runs them decides whether and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int, str], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within this context ``listener`` hears (stage, done, total, label)."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def say(stage: str, done: int = 0, total: int = 0, label: str = "") -> None:
    """Tell the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total, label)
