"""The child's side: answers one JSON line on standard output for each on standard input.

python -m benchmarks.peers.serve ADAPTER CORE
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import resident


def answers(module: str, requests: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """To each request ``{"ask": ..., ...}`` its answer, or ``{"error": ...}``."""
    adapter: Any = None
    for request in requests:
        try:
            if request["ask"] == "open":
                adapter = opened(module, Path(request["task"]), request["n_restarts"])
                yield {"version": _version(request["distribution"]), "can": abilities(adapter)}
            else:
                yield answer(adapter, request)
        except Exception as error:  # a peer may fail in any way, and its parent must hear how
            traceback.print_exc()
            yield {"error": f"{type(error).__name__}: {error}"[:300]}


def opened(module: str, task: Path, n_restarts: int) -> Any:
    from benchmarks.works import Task

    found = import_module(f"benchmarks.peers.{module}")
    return found.Adapter(getattr(found, "load", Task.load)(task), n_restarts)


def abilities(adapter: Any) -> list[str]:
    return [name for name in ("iterate", "decode", "e_step", "log_likelihood", "fit") if hasattr(adapter, name)]


def answer(adapter: Any, request: dict[str, Any]) -> dict[str, Any]:
    match request["ask"]:
        case "iterate":
            return {"seconds": _cpu_seconds(lambda: adapter.iterate(request["n"]))}
        case "decode" | "e_step" as name:
            return {"seconds": _cpu_seconds(lambda: [getattr(adapter, name)() for _ in range(request["n"])])}
        case "fit":
            reached: list[float] = []
            seconds = _cpu_seconds(lambda: reached.append(float(adapter.fit())))
            return {"seconds": seconds, "value": reached[0], "n_iter": adapter.n_iter}
        case "log_likelihood":
            return {"value": float(adapter.log_likelihood()), "ending": adapter.ending}
        case "peak":
            return {"megabytes": resident.peak()}
    raise ValueError(f"unknown request {request!r}")


def _cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _version(distribution: str | None) -> str | None:
    return None if distribution is None else version(distribution)


def main() -> int:
    module, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for found in answers(module, map(json.loads, sys.stdin)):
        replies.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
