"""The mark of a registry is another one when anything there has changed, and none where it cannot be told."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tasks.registry.mark import registry_mark


class _Registry(HTTPServer):
    status, said = 200, b'{"registered_model": {"last_updated_timestamp": 1}}'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str | None]] = []


class _Answers(BaseHTTPRequestHandler):
    server: _Registry

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.said)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Registry]:
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with _Registry() as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_file_that_was_written_has_another_mark(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert registry_mark(f"sqlite:///{path}", "toy") is None
    path.write_bytes(b"x")
    before = registry_mark(f"sqlite:///{path}", "toy")
    assert registry_mark(f"sqlite:///{path}", "toy") == before is not None
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert registry_mark(f"sqlite:///{path}", "toy") != before


def test_a_server_has_the_mark_of_what_it_says_of_the_model(server: _Registry) -> None:
    uri = f"http://127.0.0.1:{server.server_port}"
    before = registry_mark(uri, "toy")
    assert registry_mark(f"{uri}/", "toy") == before is not None
    server.said = b'{"registered_model": {"last_updated_timestamp": 2}}'
    assert registry_mark(uri, "toy") not in (before, None)
    server.status = 404
    assert registry_mark(uri, "toy") is None
    assert server.asked[0] == ("/api/2.0/mlflow/registered-models/get?name=toy", None)


def test_a_server_is_shown_the_credentials_that_mlflow_shows_it(
    server: _Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "word")
    registry_mark(f"http://{place}", "toy")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    registry_mark(f"http://{place}", "toy")
    registry_mark(f"http://bob:key@{place}", "toy")
    basic = [b64encode(who.encode()).decode() for who in ("ann:", "bob:key")]
    assert [shown for _, shown in server.asked] == ["Bearer word", *(f"Basic {who}" for who in basic)]


def test_what_does_not_answer_has_no_mark() -> None:
    with _Registry() as gone:
        uri = f"http://127.0.0.1:{gone.server_port}"
    assert registry_mark(uri, "toy") is None
    assert registry_mark("postgresql://127.0.0.1/mlflow", "toy") is None
