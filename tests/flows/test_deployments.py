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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.events.schemas.automations import AutomationCore
from prefect.flows import load_flow_from_entrypoint

from flows.serve import POOL, api_url
from tasks.config.settings import read_settings
from tasks.registry.client import Registry
from tests import postgres

_ROOT = Path(__file__).parents[2]
_FILE: dict[str, Any] = yaml.safe_load((_ROOT / "prefect.yaml").read_text())
_DEPLOYMENTS: dict[str, dict[str, Any]] = {deployment["name"]: deployment for deployment in _FILE["deployments"]}
_SCHEDULED = {name: given["schedules"] for name, given in _DEPLOYMENTS.items() if "schedules" in given}
_TRIGGERED = {name: given["triggers"] for name, given in _DEPLOYMENTS.items() if "triggers" in given}
_ONE_MODEL = ("model.n_states=3", 'model.emission="student_t"', 'model.duration="geometric"')
_WRITERS, _ENTRIES = 16, 25
_MOST_CONNECTIONS = 45  # as docs/how-to/postgresql.md says
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
    with stack(tmp_path) as (prefect, _):
        assert await_scheduled(prefect, set(_SCHEDULED)) == _SCHEDULED.keys()
    assert not [path for path in Path("/proc").glob("[0-9]*/environ") if str(tmp_path) in environ(path)]


@needs_server
@pytest.mark.skipif(postgres.programs() is None, reason="no PostgreSQL server is installed")
def test_a_night_on_postgresql_is_scheduled_worked_and_told_and_many_write_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
    (port,) = free_ports(1)
    with postgres.server(port) as server:
        server.do("postgres", *(f"create database {name}" for name in ("prefect", "mlflow", "lake")))
        prices = pl.read_parquet(_ROOT / "examples/data/markets.parquet")
        copy_to(server.at("lake"), "prices", prices)
        monkeypatch.setenv("HSMM_SOURCE__PATH", server.at("lake"))
        monkeypatch.setenv("HSMM_SOURCE__QUERY", "table prices")
        monkeypatch.setenv("HSMM_OUTPUT__STATES", str(tmp_path / "states"))
        monkeypatch.setenv("HSMM_OUTPUT__LATEST", server.at("lake"))
        databases = ("--prefect-database", server.at("prefect"), "--mlflow-database", server.at("mlflow"))
        with stack(tmp_path, *databases) as (prefect, mlflow):
            small = json.dumps([*(f"fit.{given}" for given in ("n_init=2", "tol=1e-4")), *_ONE_MODEL])
            night = ("deployment", "run", "nightly/nightly", "--param", f"overrides={small}", "--watch")
            asked_prefect(prefect, *night, "--param", "as_of=2016-12-31")
            known = server.do("lake", "select series_id, as_of::date::text from hsmm_latest order by 1")
            assert known == [(series, "2016-12-31") for series in prices["symbol"].unique().sort()]
            with ThreadPoolExecutor(_WRITERS) as pool:
                written = list(pool.map(lambda n: written_by(n, prefect, mlflow), range(_WRITERS)))
            assert written == [_ENTRIES] * _WRITERS
            in_use = server.do(
                "postgres", "select count(*) from pg_stat_activity where backend_type = 'client backend'"
            )
        assert server.do("mlflow", "select count(*) from model_versions") == [(1,)]
        assert server.do("mlflow", "select count(*) from metrics where key like 'written%'") == [(_WRITERS * _ENTRIES,)]
        assert server.do("prefect", "select count(*) from flow_run where name like 'writer%'") == [
            (_WRITERS * _ENTRIES,)
        ]
    assert in_use[0][0] <= _MOST_CONNECTIONS
    assert not re.search("QueuePool|TimeoutError|too many", (tmp_path / "log").read_text())


def written_by(writer: int, prefect: int, mlflow: int) -> int:
    """How much a writer has written to MLflow and to Prefect, a transaction each."""
    registry = Registry(f"http://127.0.0.1:{mlflow}", f"writer {writer}")
    run = registry.start_run("writing", {})
    flow = post(prefect, "flows/", {"name": f"writer {writer}"})["id"]
    for n in range(_ENTRIES):
        registry.log(run, {}, {f"written {n}": float(n)})
        post(prefect, "flow_runs/", {"flow_id": flow, "name": f"writer {writer} {n}", "state": {"type": "COMPLETED"}})
    registry.end_run(run)
    return _ENTRIES


def copy_to(address: str, table: str, rows: pl.DataFrame) -> None:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(address) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(table, rows.to_arrow(), mode="create")
        connection.commit()


@contextmanager
def stack(folder: Path, *options: str) -> Iterator[tuple[int, int]]:
    """The local stack with its deployments: the ports of Prefect and MLflow; its words are in ``log``."""
    prefect, mlflow = free_ports(2)
    environment = {**os.environ, "PREFECT_HOME": str(folder), "PYTHONPATH": str(_ROOT), "HSMM_HOME": str(_ROOT)}
    command = [
        sys.executable,
        "-m",
        "flows.serve",
        "--prefect-port",
        str(prefect),
        "--mlflow-port",
        str(mlflow),
        *options,
    ]
    with open(folder / "log", "w") as log:
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            await_line(folder / "log", "Ctrl-C stops everything")
            asked_prefect(prefect, "deploy", "--all")
            yield prefect, mlflow
        finally:
            running.send_signal(signal.SIGTERM)
            status = running.wait(60)
    assert status == 0


def asked_prefect(port: int, *arguments: str) -> None:
    environment = {**os.environ, "PREFECT_API_URL": api_url(port), "PYTHONPATH": str(_ROOT), "HSMM_HOME": str(_ROOT)}
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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
