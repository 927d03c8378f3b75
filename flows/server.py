"""Prefect's temporary server, which starts while this process still imports what the job needs."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer


def server_starting() -> Future[None]:
    """Begins to start the server that a flow without ``PREFECT_API_URL`` would start itself.

    The future is done when the server answers, and holds Prefect's ``RuntimeError`` if it does not; it is done at once
    where no temporary server is wanted.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

    ready: Future[None] = Future()
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        ready.set_result(None)
        return ready
    from prefect.server.api.server import SubprocessASGIServer

    # A daemon, so that an interrupted start does not keep the process alive: Prefect itself ends the server at exit.
    Thread(target=_start, args=(SubprocessASGIServer(), ready), name="server-start", daemon=True).start()
    return ready


def _start(server: SubprocessASGIServer, ready: Future[None]) -> None:
    try:
        server.start()
    except Exception as error:
        ready.set_exception(error)
    else:
        ready.set_result(None)
