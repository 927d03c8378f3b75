"""A tracking database that is a SQLite file on this machine: where it is, how it begins, whether it can be used."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from tasks.config.errors import TrackingError, plainly
from tasks.config.secrets import without_secrets
from tasks.config.whole import appearing

SQLITE = "sqlite:///"
PATIENCE = 60  # seconds; as three requests to a server


def is_there(uri: str) -> bool:
    """Whether there is anything to read; a SQLite file that does not exist would be made by opening it."""
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).is_file()


def resolved(uri: str) -> str:
    """Where it is from anywhere, without passwords."""
    if not uri.startswith(SQLITE):
        return without_secrets(uri)
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}"


def patient(uri: str) -> str:
    """A SQLite database that another holds is waited for as long as a server that does not answer."""
    return f"{uri}?timeout={PATIENCE}" if uri.startswith(SQLITE) and "?" not in uri else uri


def artifact_location(uri: str, experiment: str) -> str | None:
    """Beside a SQLite file; a server knows its own place."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).absolute().parent / "mlartifacts" / experiment).as_uri()


def check_local_database(uri: str) -> None:
    """Raises ``TrackingError`` for a SQLite database that cannot be used, or that another holds for a minute.

    SQLite itself is asked: mlflow would try for many minutes to open a file that cannot be opened.
    """
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    try:
        if not path.exists():
            with tempfile.TemporaryFile(dir=path.parent):
                return
        connection = sqlite3.connect(path, timeout=PATIENCE)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(f"tracking.uri: {uri!r} cannot be used: {plainly(error)}.") from None


def make_local_database(uri: str) -> None:
    """A SQLite database that is not there yet appears with all its tables, whoever is killed or comes at once.

    mlflow would make it table by table, and neither finish what was begun nor bear another that begins too.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path.exists():
        return
    from mlflow import MlflowClient

    with appearing(path, keep=True) as made:  # another run may be faster
        place = f"{SQLITE}{made.absolute()}"
        MlflowClient(tracking_uri=place, registry_uri=place)
