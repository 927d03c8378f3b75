"""How a model's rows are read and made: what of a configuration serves it away from its source."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.config.settings import Settings

_FILE = "reading.json"


def add_reading(settings: Settings, folder: Path) -> None:
    """Write it into a bundle's folder."""
    kept = settings.model_dump(
        mode="json", include={"name", "source", "features", "context", "model"}, exclude_unset=True
    )
    (folder / _FILE).write_text(json.dumps(kept), encoding="utf-8")


def load_reading(folder: Path) -> Settings | None:
    """What :func:`add_reading` left; None in a bundle without."""
    path = folder / _FILE
    return Settings(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
