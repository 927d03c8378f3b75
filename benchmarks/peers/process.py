"""The parent's side: a library at work in a process of its own, pinned to one core."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB", "NUMBA", "POLARS_MAX")
}


class PeerError(Exception):
    """A peer failed, or did not answer in time."""


class Process:
    """``ask`` sends a request and waits for its answer; leaving the ``with`` block ends the process."""

    def __init__(self, python: str, adapter: str, core: int, seconds_to_answer: float) -> None:
        self.limit = seconds_to_answer
        self.child = subprocess.Popen(
            [python, "-m", "benchmarks.peers.serve", adapter, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        )

    def ask(self, ask: str, **details: Any) -> dict[str, Any]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        try:
            self.child.stdin.write(json.dumps({"ask": ask, **details}) + "\n")
            self.child.stdin.flush()
        except BrokenPipeError as error:
            raise PeerError("it ended by itself") from error
        ready, _, _ = select.select([self.child.stdout], [], [], self.limit)
        if not ready:
            raise PeerError(f"no answer to {ask!r} within {self.limit:.0f} s")
        line = self.child.stdout.readline()
        if not line:
            raise PeerError(f"it ended by itself, asked to {ask!r}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise PeerError(found["error"])
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout):
            if stream is not None:
                stream.close()
