"""The command line, driven in one process of its own so that Prefect starts once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.commands import Outcome, environment
from tests.sources import toy_config, walk

_DRIVER = """
import contextlib, io, json, sys
from flows.cli import main
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""

CONFIG = toy_config(max_iter=40, tol=1e-4)
Drive = Callable[[Sequence[Sequence[str]]], list[Outcome]]


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def gone(family: Sequence[int], patience: float = 60) -> bool:
    """Whether all these processes end: one that was killed is there until it is next given time."""
    until = time.monotonic() + patience
    while any(map(runs, family)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(runs, family))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a source of two good series and four bad ones."""
    folder = tmp_path_factory.mktemp("workplace")
    bad = [
        walk("constant", 3).with_columns(close=1.0),
        walk("five_rows", 4).head(5),
        walk("infinite", 5).with_columns(close=pl.when(pl.int_range(150) == 9).then(np.inf).otherwise("close")),
        pl.concat([walk("duplicate", 6).head(1), walk("duplicate", 6)]),
    ]
    pl.concat([walk("A", 1), walk("B", 2), *bad]).write_parquet(folder / "prices.parquet")
    (folder / "toy.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def drive(workplace: Path) -> Drive:
    """Run commands one after the other in the workplace."""

    def run(commands: Sequence[Sequence[str]]) -> list[Outcome]:
        done = subprocess.run(
            [sys.executable, "-c", _DRIVER, json.dumps(commands)],
            cwd=workplace,
            env=environment(workplace),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcomes = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
        assert len(outcomes) == len(commands)
        return outcomes

    return run
