"""Everything that the deployments need, in one terminal: Prefect's server, a worker, MLflow; on loopback only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from tasks.config.secrets import holds_secret

HOST = "127.0.0.1"
POOL = "local"
_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_CLI_PROMPT": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONUNBUFFERED": "1",
}
_START_SECONDS, _STOP_SECONDS = 180.0, 20.0
_SQLITE = "sqlite:///mlflow.db"
_POSTGRES = ("postgresql://", "postgres://")
_PREFECTS_OWN = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@dataclass(frozen=True)
class Service:
    """A program that runs until it is told to stop; ``ready`` says when others may use it.

    ``first`` is done before it starts.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]
    first: Callable[[], None] = lambda: None


def local_stack(prefect_port: int, mlflow_port: int, mlflow_database: str = _SQLITE) -> list[list[Service]]:
    """Prefect's server and MLflow over a database; when they are ready, a worker of the pool."""
    api, python = api_url(prefect_port), sys.executable
    artifacts = (Path.cwd() / "mlartifacts").as_uri()
    mlflow = [python, "-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"]
    mlflow += ["--backend-store-uri", mlflow_database, "--no-serve-artifacts"]
    mlflow += ["--default-artifact-root", artifacts, "--uvicorn-opts", "--log-level warning"]
    server = [python, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)]
    worker = [python, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", POOL]
    return [
        [
            Service("mlflow", mlflow, lambda: answers(f"http://{HOST}:{mlflow_port}/health")),
            Service("server", server, lambda: answers(f"{api}/health")),
        ],
        [
            Service(
                "worker",
                worker,
                lambda: answers(f"{api}/work_pools/{POOL}", '"status":"READY"'),
                lambda: end_stopped_runs(api),
            )
        ],
    ]


def stack_environment(prefect_port: int, mlflow_port: int) -> dict[str, str]:
    """What a program must find in its environment to use the stack; the worker's runs do."""
    return {
        "PREFECT_API_URL": api_url(prefect_port),
        "HSMM_TRACKING__URI": f"http://{HOST}:{mlflow_port}",
        "HSMM_HOME": str(Path.cwd()),
    }


def api_url(port: int) -> str:
    """Where Prefect's server answers."""
    return f"http://{HOST}:{port}/api"


def serve(
    prefect_port: int = 4200,
    mlflow_port: int = 5000,
    *,
    prefect_database: str | None = None,
    mlflow_database: str | None = None,
) -> int:
    """Run the stack until Ctrl-C or SIGTERM, or until a part of it ends; the exit status.

    Databases are PostgreSQL's, such as postgresql://user@host/name, with the password in PGPASSWORD; without them,
    SQLite's.
    """
    given = {"--prefect-database": prefect_database, "--mlflow-database": mlflow_database}
    for option, address in given.items():
        if address is not None and (not address.startswith(_POSTGRES) or holds_secret(address)):
            found = "a password" if holds_secret(address) else repr(address)
            return _complain(
                f"{option}: found {found}; expected postgresql://user@host/name, and the password in PGPASSWORD."
            )
    if mlflow_database is not None and find_spec("psycopg2") is None:
        return _complain("--mlflow-database needs packages that are not installed: pip install 'hsmm-flows[postgres]'.")
    for port in (prefect_port, mlflow_port):
        if _is_taken(port):
            return _complain(f"port {port} is taken; stop what listens there, or choose another.")
    environment = stack_environment(prefect_port, mlflow_port)
    directions = _directions(prefect_port, environment)
    if prefect_database is not None:
        environment[_PREFECTS_OWN] = _of_driver(prefect_database, "asyncpg")
    store = _SQLITE if mlflow_database is None else _of_driver(mlflow_database, "psycopg2")
    try:
        with _told_to_stop() as stopping:
            _run(local_stack(prefect_port, mlflow_port, store), environment, directions, stopping)
    except _EndedError as error:
        return _complain(f"{error}; everything is stopped.")
    _say("serve: everything is stopped")
    return 0


def _of_driver(address: str, driver: str) -> str:
    """A database's address, with the driver that SQLAlchemy is to use."""
    return f"postgresql+{driver}://{address.partition('://')[2]}"


class _EndedError(Exception):
    """A part of the stack that should run does not."""


def _run(waves: Sequence[Sequence[Service]], environment: Mapping[str, str], words: str, stopping: Event) -> None:
    """Start every wave when the one before is ready, say so, and keep all until told to stop."""
    with ExitStack() as running:
        started: list[tuple[Service, subprocess.Popen[str]]] = []
        for wave in waves:
            for service in wave:
                service.first()
            new = [(service, running.enter_context(started_service(service, environment))) for service in wave]
            started += new
            for service, _ in new:
                _await(service, started, stopping)
        if not stopping.is_set():
            _say(words)
        while not stopping.wait(0.5):
            _check_alive(started)
        _say("serve: stopping")


def _await(service: Service, started: Sequence[tuple[Service, subprocess.Popen[str]]], stopping: Event) -> None:
    until = time.monotonic() + _START_SECONDS
    while not stopping.wait(0.3):
        _check_alive(started)
        if service.ready():
            _say(f"serve: {service.name} is ready")
            return
        if time.monotonic() > until:
            raise _EndedError(f"{service.name} was not ready after {_START_SECONDS:.0f} s")


def _check_alive(started: Sequence[tuple[Service, subprocess.Popen[str]]]) -> None:
    for service, process in started:
        if process.poll() is not None:
            raise _EndedError(f"{service.name} has ended with status {process.returncode}")


@contextmanager
def started_service(service: Service, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Within this context the service runs, its lines with its name before them; afterwards none of its family does."""
    process = subprocess.Popen(
        service.command,
        env={**os.environ, **_QUIET, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    copying = Thread(target=_copy, args=(service.name, process.stdout), daemon=True)
    copying.start()
    try:
        yield process
    finally:
        _end(process)
        copying.join(_STOP_SECONDS)


def answers(url: str, words: str = "") -> bool:
    """Whether a server answers there, with these words."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return words in reply.read().decode(errors="replace")
    except OSError:
        return False


def end_stopped_runs(api: str) -> None:
    """Declare crashed what ran in the pool when its worker was stopped: it would hold its place for ever."""
    stopped = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    crashed = {"state": {"type": "CRASHED", "message": "it was stopped together with its worker"}}
    for run in _post(f"{api}/flow_runs/filter", {"flow_runs": stopped, "work_pools": {"name": {"any_": [POOL]}}}):
        _post(f"{api}/flow_runs/{run['id']}/set_state", crashed)
        _say(f"serve: {run['name']} was stopped together with its worker; it is crashed now, run it again")


def _post(url: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask, wait, insist; then whoever of the same session is left."""
    family = _descendants(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    for pid in (process.pid, *family):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> list[int]:
    """Processes that descend from this one: a worker's runs have sessions of their own."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


@contextmanager
def _told_to_stop() -> Iterator[Event]:
    """An event that Ctrl-C and SIGTERM set, within this context."""
    stopping = Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_taken(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return True
    return False


def _directions(prefect_port: int, environment: Mapping[str, str]) -> str:
    exports = " ".join(f"{name}={value}" for name, value in environment.items())
    return "\n".join(
        [
            f"serve: Prefect is at http://{HOST}:{prefect_port}, MLflow at {environment['HSMM_TRACKING__URI']}.",
            "serve: in another terminal:",
            f"serve:   export {exports}",
            "serve:   prefect deploy --all",
            "serve: Ctrl-C stops everything.",
        ]
    )


def _copy(name: str, lines: IO[str]) -> None:
    with lines:
        for line in lines:
            if line.strip():
                _say(f"{name}: {line.rstrip()}")


def _say(text: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _complain(message: str) -> int:
    sys.stderr.write(f"serve: {message}\n")
    return 1


if __name__ == "__main__":
    import cyclopts

    sys.exit(cyclopts.run(serve))
