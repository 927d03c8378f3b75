"""An object store on this machine, and a way to it that can be cut."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def object_store() -> Iterator[int]:
    """The port of an S3-compatible store in memory."""
    with _serving("-m", "moto.server", "--host", "127.0.0.1", "--port", "{port}") as port:
        yield port


@contextmanager
def cable(target: int, cut: Path) -> Iterator[int]:
    """A port from which all goes to the ``target`` while there is no file ``cut``."""
    with _serving(str(Path(__file__).with_name("cable.py")), "{port}", str(target), str(cut)) as port:
        yield port


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def make_bucket(port: int, name: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{name}", method="PUT")
    with urllib.request.urlopen(request):
        pass


@contextmanager
def _serving(*arguments: str) -> Iterator[int]:
    """Python as a process of its own that listens to a port."""
    port = free_port()
    command: Sequence[str] = [sys.executable, *(argument.format(port=port) for argument in arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None and not _answers(port):
                time.sleep(0.05)
            yield port
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
