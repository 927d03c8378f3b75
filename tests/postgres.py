"""A PostgreSQL server on this machine, of a folder that is gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "hunter2"
_PLACES = "/usr/lib/postgresql/*/bin"
_QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "unix_socket_directories=")


def programs() -> Path | None:
    """Where the server's programs are, if they are anywhere: Debian does not put them on the path."""
    found = sorted(Path("/").glob(f"{_PLACES[1:]}/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else None if on_path is None else Path(on_path).resolve().parent


@dataclass(frozen=True)
class Server:
    """A server on loopback whose owner may do everything, and needs a password for it."""

    port: int

    def at(self, database: str, user: str = "owner") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def do(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """What the last of these statements answers; each stands when it is done."""
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.at(database), autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def server(port: int, *settings: str) -> Iterator[Server]:
    """A server with these settings besides; PGPASSWORD must hold :data:`PASSWORD` for whoever uses it."""
    there, folder = programs(), Path(tempfile.mkdtemp(prefix="hsmm-postgres-"))
    assert there is not None
    password, data = folder / "password", folder / "data"
    password.write_text(PASSWORD)
    _give_away(folder, password)
    try:
        made = ("--username=owner", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync", "--no-locale")
        _run([str(there / "initdb"), "--pgdata", str(data), "--encoding=UTF8", *made])
        given = [
            part
            for setting in (f"port={port}", "listen_addresses=127.0.0.1", *_QUICK, *settings)
            for part in ("-c", setting)
        ]
        control = [str(there / "pg_ctl"), "--pgdata", str(data), "--silent", "--wait"]
        _run([*control, "--log", str(folder / "log"), "--options", " ".join(given), "start"])
        try:
            yield Server(port)
        finally:
            _run([*control, "--mode=immediate", "stop"])
    finally:
        shutil.rmtree(folder)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **_nobody())


def _nobody() -> dict[str, Any]:
    """Who runs the server: not root, which it refuses."""
    if os.geteuid() != 0:
        return {}
    account = next(known for known in pwd.getpwall() if known.pw_name in ("postgres", "nobody"))
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _give_away(*paths: Path) -> None:
    if owner := _nobody():
        for path in paths:
            os.chown(path, owner["user"], owner["group"])
