"""PostgreSQL: connections, and what a server or its driver answers, in plain words.

Passwords come from the environment alone, by the names that PostgreSQL's own tools read (PGPASSWORD, PGPASSFILE, …).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tasks.config.errors import PipelineError

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

_PATIENCE = 10  # seconds until a server counts as one that does not answer
_LIBPQ = re.compile(r"^.*?(?:\[libpq\][^:]*|Failed to [^:]*|could not begin COPY): (?:.*?failed: )?", re.DOTALL)
_CAUSES = (
    ("password authentication failed", "the server refuses the password of the environment (PGPASSWORD)"),
    ("no password supplied", "the server asks for a password; set PGPASSWORD in the environment"),
    ("Connection refused", "no server answers there"),
    ("could not translate host name", "there is no such host"),
    ("timeout expired", f"no server answered for {_PATIENCE} s"),
)
WRITES, SEVERAL = "25006", "cannot insert multiple commands"

Refusal = Callable[[str], PipelineError]


@contextmanager
def connected(address: str, refusal: Refusal) -> Iterator[Connection]:
    """A connection whose statements are one transaction: nothing of it stays unless it is committed.

    Raises what ``refusal`` makes of the end of a sentence where the driver is not installed or the server cannot be
    used.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise refusal("needs packages that are not installed: pip install 'hsmm-flows[postgres]'") from None
    try:
        connection = dbapi.connect(_patient(address))
    except dbapi.Error as error:
        raise refusal(f"cannot be reached: {said_by_server(error)}") from None
    try:
        yield connection
    finally:
        with suppress(dbapi.Error):  # of a connection that is lost
            connection.close()


def server_errors() -> type[Exception]:
    """What the driver raises where a server does not do as asked."""
    from adbc_driver_postgresql import dbapi

    return dbapi.Error


def state_of(error: Exception) -> str | None:
    """The code (SQLSTATE) under which a server refused a statement."""
    return getattr(error, "sqlstate", None)


def said_by_server(error: Exception) -> str:
    """What a server or its driver said first, as the end of a sentence."""
    said = str(error)
    known = next((words for sign, words in _CAUSES if sign in said), None)
    if known is not None:
        return known
    first = _LIBPQ.sub("", said).strip().splitlines()[0]
    return re.sub(r"^(?:ERROR|FATAL): *", "", first).rstrip(".")


def _patient(address: str) -> str:
    if "connect_timeout=" in address or "PGCONNECT_TIMEOUT" in os.environ:
        return address
    return f"{address}{'&' if '?' in address else '?'}connect_timeout={_PATIENCE}"
