"""What a registry holds, in a word that is another one as soon as anything there changes; found without mlflow."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import Request, urlopen

from tasks.registry.local import SQLITE

_PATIENCE = 5.0  # seconds for a server to answer; one that does not is asked again by the run itself
_LARGEST = 1 << 22


def registry_mark(uri: str, name: str) -> str | None:
    """Of a SQLite file, when it was written; of a server, what it says of the model. None where neither can be told."""
    with suppress(OSError, ValueError, HTTPException):
        if uri.startswith(SQLITE):
            state = Path(uri.removeprefix(SQLITE)).stat()
            return f"{state.st_ino} {state.st_size} {state.st_mtime_ns}"
        if uri.startswith(("http://", "https://")):
            return hashlib.sha256(_answer(uri, name)).hexdigest()
    return None


def _answer(uri: str, name: str) -> bytes:
    """The model's entry, which says when anything of it was changed, its versions and its champion."""
    place = urlsplit(uri)
    address = place._replace(netloc=place.netloc.rpartition("@")[2]).geturl().rstrip("/")
    request = Request(f"{address}/api/2.0/mlflow/registered-models/get?name={quote(name)}")
    if (credentials := _credentials(place)) is not None:
        request.add_unredirected_header("Authorization", credentials)
    with urlopen(request, timeout=_PATIENCE) as answer:
        said: bytes = answer.read(_LARGEST)
    return said


def _credentials(place: SplitResult) -> str | None:
    """As mlflow takes them: of the environment, or of the address."""
    found = {key: os.environ.get(f"MLFLOW_TRACKING_{key}") for key in ("TOKEN", "USERNAME", "PASSWORD")}
    user, password = place.username or found["USERNAME"], place.password or found["PASSWORD"] or ""
    if user is not None:
        return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
    return None if found["TOKEN"] is None else f"Bearer {found['TOKEN']}"
