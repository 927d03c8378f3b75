"""A way to a port of this machine that can be cut: a process of its own, for some clients do not let Python go on.

python cable.py PORT TARGET FILE forwards connections from one to the other, and drops all while the file is there.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def main(port: int, target: int, cut: Path) -> None:
    ends: list[socket.socket] = []
    threading.Thread(target=_watch, args=(cut, ends), daemon=True).start()
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            near, _ = server.accept()
            if cut.exists():
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", target))
            ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _watch(cut: Path, ends: list[socket.socket]) -> None:
    while True:
        while cut.exists() and ends:
            with suppress(OSError):
                ends.pop().shutdown(socket.SHUT_RDWR)
        time.sleep(0.01)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with source, suppress(OSError):
        while found := source.recv(1 << 16):
            sink.sendall(found)
        sink.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
