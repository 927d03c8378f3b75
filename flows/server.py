"""Prefect's temporary server, which starts while this process still imports what the job needs, and ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

_PROGRAM = Path(__file__).with_name("tethered.py")
_OF_A_TEMPORARY_SERVER = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


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
    # A daemon, so that an interrupted start does not keep the process alive: Prefect itself ends the server at exit.
    Thread(target=_start, args=(_tethered(), ready), name="server-start", daemon=True).start()
    return ready


def _tethered() -> SubprocessASGIServer:
    """The server of this process, of which Prefect makes one; a signal that ends this process ends it too."""
    from prefect.server.api.server import SubprocessASGIServer

    class Tethered(SubprocessASGIServer):
        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            return _run(self.port)

    return Tethered()


def _run(port: int | None) -> subprocess.Popen[Any]:
    """The program on a port. Nobody but this process holds the end of the pipe that stays open until it ends."""
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    its_end, _ = os.pipe()
    try:
        return subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(port)],
            env={**os.environ, **_OF_A_TEMPORARY_SERVER, **settings},
            stdin=its_end,
            stdout=subprocess.DEVNULL,
        )
    finally:
        os.close(its_end)


def _start(server: SubprocessASGIServer, ready: Future[None]) -> None:
    try:
        server.start()
    except Exception as error:
        ready.set_exception(error)
    else:
        ready.set_result(None)
