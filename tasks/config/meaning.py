"""What a table's rows mean: as long as this is the same, the rows of many nights are one path."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tasks.config.settings import Settings


def meaning(settings: Settings) -> dict[str, Any]:
    """The keys of a configuration that decide what a row is, and what its states are states of."""
    source = settings.source
    return {
        "features": {name: feature.model_dump(mode="json") for name, feature in settings.features.items()},
        "context": {name: feature.model_dump(mode="json") for name, feature in settings.context.items()},
        "source.frequency": source.frequency,
        "source.resample": source.resample,
        "source.timezone": source.timezone,
        "fit.scale": settings.fit.scale,
    }


def digest(means: dict[str, Any]) -> str:
    """A name for it."""
    return hashlib.sha256(json.dumps(means, sort_keys=True).encode()).hexdigest()[:12]
