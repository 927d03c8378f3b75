"""A command that is killed leaves no process behind, and lets go of what it wrote to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.serve import _descendants
from tests.flows.conftest import CONFIG, gone, runs, walk

_ROOT = Path(__file__).parents[2]
_ENDLESS = ["--set", "fit.tol=0", "--set", "fit.max_iter=100000000"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to see who is left")


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Prefect keeps its database, which takes it longer to make than to use."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def at_work(tmp_path: Path, prefect_home: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in the midst of its fits, whose server answers; output and errors share one pipe, as in a schedule."""
    walk("A", 1).write_parquet(tmp_path / "prices.parquet")
    (tmp_path / "toy.toml").write_text(CONFIG)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "HSMM_"))}
    environment |= {"PYTHONPATH": str(_ROOT), "PREFECT_HOME": str(prefect_home), "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", "run", "toy.toml", *_ENDLESS],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert any(line.startswith("fitting") for line in run.stdout)
    family = [run.pid, *_descendants(run.pid)]
    yield run
    for pid in filter(runs, family):
        os.kill(pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.costly)])
def test_a_killed_run_leaves_no_process_and_its_output_ends(
    at_work: subprocess.Popen[str], number: signal.Signals
) -> None:
    family = _descendants(at_work.pid)
    assert family, "the run has no server of its own: nothing was tried"
    at_work.send_signal(number)
    output, _ = at_work.communicate(timeout=60)  # the pipe's end: nobody is left who could write to it
    assert "Traceback" not in output
    assert output.splitlines().count("hsmm: stopped; run it again to go on.") == (number == signal.SIGTERM)
    assert at_work.returncode == -number
    assert gone(family)
