"""Prefect's temporary server, run as a program: it ends when the process that started it does, however that ends.

Its standard input is a pipe whose other end that process alone holds and never writes to, so that the end of the input
is the end of that process; nothing else tells of a SIGKILL on every system.
"""

from __future__ import annotations

import os
import sys
from threading import Thread


def _end_with_the_input() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)


def main(port: int) -> None:
    Thread(target=_end_with_the_input, name="tether", daemon=True).start()
    import uvicorn

    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    main(int(sys.argv[1]))
