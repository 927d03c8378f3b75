"""A signal that ends a run ends it wherever it arrives."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.exceptions import TerminationSignal

from flows.signals import heard


class Finalised:
    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def _as_prefect_handles_it() -> Iterator[None]:
    def ends(number: int, _: object) -> None:
        raise TerminationSignal(signal=number)

    before = signal.signal(signal.SIGTERM, ends)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGTERM, TerminationSignal), (signal.SIGINT, KeyboardInterrupt)], ids=str
)
def test_one_that_comes_while_something_is_finalised_is_heard(
    number: signal.Signals, ends: type[BaseException]
) -> None:
    def work() -> None:
        made = Finalised(number)
        del made
        time.sleep(5)

    with pytest.raises(ends), heard():
        work()


def test_a_command_that_is_ended_clears_away_what_it_began(tmp_path: Path) -> None:
    """And has ended by the signal, with one line: who waits for it sees which."""
    code = f"""
import os, signal, tempfile, time
from flows.cli import app, main
@app.command
def work():
    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
main(["work"])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        -signal.SIGTERM,
        "",
        "hsmm: stopped; run it again to go on.\n",
    )
    assert not [*tmp_path.iterdir()]
