"""What prefect.yaml promises: deployments that load, runs that are scheduled, triggers that meet what they wait for."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.events.schemas.automations import AutomationCore
from prefect.flows import load_flow_from_entrypoint

from flows.serve import POOL, api_url
from tasks.config.settings import read_settings

_ROOT = Path(__file__).parents[2]
_FILE: dict[str, Any] = yaml.safe_load((_ROOT / "prefect.yaml").read_text())
_DEPLOYMENTS: dict[str, dict[str, Any]] = {deployment["name"]: deployment for deployment in _FILE["deployments"]}
_SCHEDULED = {name: given["schedules"] for name, given in _DEPLOYMENTS.items() if "schedules" in given}
_TRIGGERED = {name: given["triggers"] for name, given in _DEPLOYMENTS.items() if "triggers" in given}
needs_server = pytest.mark.skipif("HSMM_TEST_SERVER" not in os.environ, reason="HSMM_TEST_SERVER is not set")


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)


def flow_of(name: str) -> Flow[..., Any]:
    return load_flow_from_entrypoint(str(_ROOT / _DEPLOYMENTS[name]["entrypoint"]))


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("name", _DEPLOYMENTS)
def test_a_deployment_runs_its_flow_with_parameters_that_it_takes(name: str) -> None:
    given = flow_of(name).validate_parameters(_DEPLOYMENTS[name]["parameters"])
    assert "config" not in given or read_settings(given["config"]).name


def test_a_wrong_parameter_is_refused() -> None:
    with pytest.raises(Exception, match="every_month"):
        flow_of("backfill").validate_parameters({**_DEPLOYMENTS["backfill"]["parameters"], "every_month": "1mo"})


@pytest.mark.parametrize("name", _DEPLOYMENTS)
def test_every_deployment_goes_to_the_worker_of_the_local_stack(name: str) -> None:
    assert _DEPLOYMENTS[name]["work_pool"]["name"] == POOL


@pytest.mark.parametrize("name", _SCHEDULED)
def test_a_schedule_names_its_zone_and_never_overlaps(name: str) -> None:
    for schedule in _SCHEDULED[name]:
        assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]).timezone
    assert _DEPLOYMENTS[name]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.parametrize("name", _TRIGGERED)
def test_a_trigger_gives_its_flow_parameters_that_it_takes(name: str) -> None:
    for trigger in _TRIGGERED[name]:
        parsed = DeploymentEventTrigger.model_validate({**trigger, "name": trigger["name"]})
        flow_of(name).validate_parameters({**_DEPLOYMENTS[name]["parameters"], **(parsed.parameters or {})})


def test_promotion_waits_for_the_completion_of_a_deployment_that_there_is() -> None:
    (trigger,) = _TRIGGERED["promotion"]
    assert trigger["expect"] == ["prefect.flow-run.Completed"]
    assert trigger["match_related"]["prefect.resource.name"] in _DEPLOYMENTS


def test_every_failure_is_noted_but_that_of_a_note() -> None:
    (trigger,) = _TRIGGERED["failure"]
    tag = trigger["match_related"]["prefect.resource.id"].removeprefix("prefect.tag.")
    noted = {name for name, given in _DEPLOYMENTS.items() if tag in given["tags"]}
    assert noted == _DEPLOYMENTS.keys() - {"failure"}


def test_a_run_without_a_sign_of_life_is_declared_crashed_long_after_its_heartbeats_stop() -> None:
    (given,) = yaml.safe_load((_ROOT / "automations.yaml").read_text())["automations"]
    automation = AutomationCore.model_validate(given)
    (action,) = automation.actions
    beat = int(_DEPLOYMENTS["nightly"]["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert action.model_dump()["state"] == "CRASHED"
    assert automation.trigger.within.total_seconds() >= 3 * beat


def test_no_example_listens_to_other_machines() -> None:
    files = [*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md"), _ROOT / "Makefile", *_ROOT.glob("flows/*.py")]
    for path in files:
        assert not re.search(r"0\.0\.0\.0|--host (?!127\.0\.0\.1)", path.read_text()), path


@needs_server
def test_the_local_stack_schedules_runs_and_leaves_no_process(tmp_path: Path) -> None:
    prefect, mlflow = free_ports(2)
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(_ROOT), "HSMM_HOME": str(_ROOT)}
    command = [sys.executable, "-m", "flows.serve", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    with open(tmp_path / "log", "w") as log:
        stack = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            await_line(tmp_path / "log", "Ctrl-C stops everything")
            deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
            environment["PREFECT_API_URL"] = api_url(prefect)
            subprocess.run(deploy, cwd=_ROOT, env=environment, check=True, capture_output=True)
            scheduled = await_scheduled(prefect, set(_SCHEDULED))
        finally:
            stack.send_signal(signal.SIGTERM)
            status = stack.wait(60)
    assert status == 0
    assert scheduled == _SCHEDULED.keys()
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if str(tmp_path) in environ(path)]


def free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def await_line(path: Path, words: str) -> None:
    until = time.monotonic() + 200
    while words not in path.read_text():
        assert time.monotonic() < until, path.read_text()
        time.sleep(0.5)


def await_scheduled(port: int, wanted: set[str]) -> set[str]:
    """The flows of which runs are scheduled, when it is all of them or a minute has passed."""
    until, found = time.monotonic() + 60, set()
    while found != wanted and time.monotonic() < until:
        time.sleep(1)
        runs = post(port, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        flows = post(port, "flows/filter", {"flows": {"id": {"any_": sorted({run["flow_id"] for run in runs})}}})
        found = {flow["name"] for flow in flows}
    return found


def post(port: int, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{api_url(port)}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def environ(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
