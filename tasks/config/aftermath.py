"""What comes after a publish takes nothing back: where it fails, that is said, and the run is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.config.errors import PipelineError


@contextmanager
def afterwards(what: str, notes: list[str]) -> Iterator[None]:
    """Notes what fails in this context for want of room, of rights or of a service; what was published stands."""
    try:
        yield
    except (OSError, PipelineError) as error:
        notes.append(f"{what}: {str(error).rstrip('.')}; what was published stands.")
