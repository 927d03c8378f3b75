"""Whether the tables are there, or can be made there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tasks.config.errors import OutputError
from tasks.tables.places import every_table, is_local
from tasks.tables.storage import open_table


def check_output(states: str) -> None:
    """Raises ``OutputError`` unless a state table is there, or can be made there. Writes nothing."""
    for location, columns in every_table(states).items():
        open_table(location, columns)
        if is_local(location):
            _check_writable(Path(location))


def _check_writable(path: Path) -> None:
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"output.states: {str(path)!r} cannot be written ({error.strerror} at {str(existing)!r}); "
            "expected a folder that this user may write."
        ) from None
