"""What a table's rows mean: as long as this is the same, the rows of many nights are one path."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tasks.config.components import label
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


def reading(settings: Settings) -> dict[str, Any]:
    """The keys that decide which rows can be read and used, though not what they mean."""
    elsewhere = {"path", "query", "version", *(key.removeprefix("source.") for key in meaning(settings))}
    source = settings.source.model_dump(mode="json", exclude=elsewhere)
    return {
        **{f"source.{key}": value for key, value in source.items()},
        "model.emission": [label(choice) for choice in settings.model.emission],
        "fit.train_window": settings.fit.train_window,
        "promote.holdout": settings.promote.holdout,
    }


def told_changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Which keys changed, from what to what; empty if none did."""
    changed = [key for key in now if before.get(key) != now[key]]
    return ", ".join(
        f"`{key}`" if key in ("features", "context") else f"`{key}` was {before.get(key)!r} and is {now[key]!r}"
        for key in changed
    )


def digest(means: dict[str, Any]) -> str:
    """A name for it."""
    return hashlib.sha256(json.dumps(means, sort_keys=True).encode()).hexdigest()[:12]
