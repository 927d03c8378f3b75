"""The command line, driven in one process of its own so that Prefect starts once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

_DRIVER = """
import contextlib, io, json, sys
from flows.cli import main
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""
_ROOT = Path(__file__).parents[2]

CONFIG = """
name = "toy"
[source]
path = "prices.parquet"
series = "symbol"
time = "date"
frequency = "1d"
available_after = "1d"
[features]
r = { op = "log_return", column = "close" }
[model]
n_states = 2
emission = ["gaussian", "student_t"]
duration = "geometric"
max_duration = 12
[fit]
n_init = 2
max_iter = 40
tol = 1e-4
device = "cpu"
"""


@dataclass(frozen=True)
class Outcome:
    """What one command left: exit status and what it said."""

    status: int
    out: str
    err: str

    @property
    def last_json(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


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


def walk(symbol: str, seed: int, n_rows: int = 150) -> pl.DataFrame:
    """Daily prices with a calm and a wild regime."""
    rng = np.random.default_rng(seed)
    spread = np.where(np.arange(n_rows) // 25 % 2, 0.03, 0.005)
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(n_rows)]
    return pl.DataFrame({"symbol": symbol, "date": days, "close": np.exp((rng.normal(size=n_rows) * spread).cumsum())})


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
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "HSMM_"))}
        environment |= {"PYTHONPATH": str(_ROOT), "PREFECT_HOME": str(workplace / "prefect"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", _DRIVER, json.dumps(commands)],
            cwd=workplace,
            env=environment,
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
