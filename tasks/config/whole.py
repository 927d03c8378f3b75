"""Files and folders that appear whole or not at all, whoever is stopped while they are written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def appearing(path: Path, *, keep: bool = False) -> Iterator[Path]:
    """A place to write a file or a folder, which takes the name of ``path`` when the context ends without an exception.

    What was there is replaced, or stays with ``keep``; a folder that another run made meanwhile stays in any case.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-", ignore_cleanup_errors=True) as place:
        made = Path(place) / path.name
        yield made
        if keep and made.is_file():
            with suppress(FileExistsError):
                os.link(made, path)
            return
        if made.is_dir() and not keep:
            shutil.rmtree(path, ignore_errors=True)
        try:
            made.replace(path)
        except OSError:
            if not path.is_dir():
                raise
