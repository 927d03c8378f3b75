"""The local stack: what was started is gone afterwards, whatever it did; what cannot run is said."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from flows.serve import Service, _EndedError, _run, answers, local_stack, serve, started_service

_FAMILY = """
import pathlib, signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
pathlib.Path(sys.argv[1]).write_text(" ".join(str(child.pid) for child in children))
print("a line", flush=True)
time.sleep(600)
"""


def runs(pid: int) -> bool:
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_of_a_stopped_service_no_descendant_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = tmp_path / "children"
    service = Service("family", [sys.executable, "-c", _FAMILY, str(note)], note.exists)
    with started_service(service, {}) as process:
        until = time.monotonic() + 30
        while not (note.exists() and note.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        family = [process.pid, *map(int, note.read_text().split())]
        assert len(family) == 3
        assert all(map(runs, family))
    assert not any(map(runs, family))
    assert "family: a line" in capsys.readouterr().out


def test_a_service_that_ends_stops_the_others(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    lasting = f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(600)"
    waves = [
        [Service("lasting", [sys.executable, "-c", lasting], lambda: note.exists() and bool(note.read_text()))],
        [Service("broken", [sys.executable, "-c", "raise SystemExit(3)"], lambda: False)],
    ]
    with pytest.raises(_EndedError, match="broken has ended with status 3"):
        _run(waves, {}, "ready", Event())
    assert not runs(int(note.read_text()))


def test_a_port_that_is_taken_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert serve(prefect_port=port, mlflow_port=port) == 1
    assert f"port {port} is taken" in capsys.readouterr().err


def test_every_server_of_the_stack_listens_on_loopback_only() -> None:
    servers = [service.command for wave in local_stack(1, 2) for service in wave if "--port" in service.command]
    assert len(servers) == 2
    assert all(command[command.index("--host") + 1] == "127.0.0.1" for command in servers)


def test_nobody_answers_where_nobody_listens() -> None:
    assert not answers("http://127.0.0.1:9/health")
