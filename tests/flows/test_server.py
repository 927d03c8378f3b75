"""Prefect's temporary server starts beside the imports; its failure is the user's one sentence."""

from __future__ import annotations

import pytest
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

from flows.commands.flow import orchestrated
from flows.server import server_starting
from tasks.config.errors import PipelineError

WANTED = {PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The servers that were started, none of them real."""
    servers: list[object] = []
    monkeypatch.setattr(SubprocessASGIServer, "start", lambda self: servers.append(self))
    return servers


def test_the_flow_waits_for_the_server(started: list[object]) -> None:
    with temporary_settings(WANTED):
        ready = server_starting()
        assert orchestrated(ready, lambda: {"servers": len(started)}) == {"servers": 1}


@pytest.mark.parametrize(
    "settings",
    [{PREFECT_API_URL: "http://127.0.0.1:4200/api"}, {**WANTED, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}],
    ids=["a server of one's own", "no temporary server allowed"],
)
def test_no_server_starts_that_nobody_wants(started: list[object], settings: dict) -> None:
    with temporary_settings(settings):
        assert server_starting().done()
    assert not started


def test_a_server_that_does_not_answer_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: object) -> None:
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    monkeypatch.setattr(SubprocessASGIServer, "start", silent)
    with temporary_settings(WANTED), pytest.raises(PipelineError, match=r"Timed out.*PREFECT_API_URL"):
        orchestrated(server_starting(), lambda: pytest.fail("the flow ran without a server"))
