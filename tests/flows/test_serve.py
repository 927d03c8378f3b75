"""The local stack: what was started is gone afterwards, whatever it did; what cannot run is said."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import flows.serve
from flows.serve import POOL, Service, _EndedError, _run, answers, end_stopped_runs, local_stack, serve, started_service
from tests.flows.conftest import gone, runs

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
    assert gone(family)
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
    assert gone([int(note.read_text())])


def test_a_port_that_is_taken_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert serve(prefect_port=port, mlflow_port=port) == 1
    assert f"port {port} is taken" in capsys.readouterr().err


def test_every_server_of_the_stack_listens_on_loopback_only() -> None:
    servers = [service.command for wave in local_stack(1, 2) for service in wave if "--port" in service.command]
    assert len(servers) == 2
    assert all(command[command.index("--host") + 1] == "127.0.0.1" for command in servers)


def test_what_was_stopped_with_its_worker_is_declared_crashed(prefect: str, asked: list[tuple[str, dict]]) -> None:
    end_stopped_runs(prefect)
    (_, wanted), (path, state) = asked
    assert "RUNNING" in wanted["flow_runs"]["state"]["type"]["any_"]
    assert wanted["work_pools"]["name"]["any_"] == [POOL]
    assert path == "/api/flow_runs/7/set_state"
    assert state["state"]["type"] == "CRASHED"


@pytest.fixture
def asked() -> list[tuple[str, dict]]:
    """What a server was asked, in order."""
    return []


@pytest.fixture
def prefect(asked: list[tuple[str, dict]]) -> Iterator[str]:
    """The address of a server that knows one run."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            body = json.dumps([{"id": 7, "name": "a run"}] if self.path.endswith("filter") else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_nobody_answers_where_nobody_listens() -> None:
    assert not answers("http://127.0.0.1:9/health")


@pytest.mark.parametrize("address", ["postgresql://u:hunter2@127.0.0.1/x", "sqlite:///x.db"])
@pytest.mark.parametrize("option", ["prefect_database", "mlflow_database"])
def test_a_database_that_is_none_or_holds_a_password_is_refused(
    address: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(1, 2, **{option: address}) == 1
    said = capsys.readouterr().err
    assert f"serve: --{option.replace('_', '-')}: found " in said
    assert "expected postgresql://user@host/name, and the password in PGPASSWORD" in said
    assert "hunter2" not in said


def test_each_server_is_given_its_database_in_the_words_of_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg2")
    given = list[tuple[Any, Any]]()
    monkeypatch.setattr(flows.serve, "_run", lambda waves, environment, *_: given.append((waves, environment)))
    prefect, mlflow = (f"postgresql://hsmm@127.0.0.1/{name}" for name in ("prefect", "mlflow"))
    assert serve(0, 0, prefect_database=prefect, mlflow_database=mlflow) == 0
    ((waves, environment),) = given
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://hsmm@127.0.0.1/prefect"
    assert "postgresql+psycopg2://hsmm@127.0.0.1/mlflow" in waves[0][0].command
