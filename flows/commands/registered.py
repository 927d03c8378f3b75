"""A registered model, as commands name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.registry.client import Registry


def registered(model: str, assignments: Sequence[str] | None) -> tuple[Registry, str]:
    """The tracking server and the model's name: as a configuration says, or of a name where variables say."""
    from tasks.config.settings import check_name, read_outline, read_tracking
    from tasks.registry.client import existing_registry

    if model.endswith(".toml"):
        settings = read_outline(model, assignments or ())
        return existing_registry(settings.tracking.uri, settings.name), settings.name
    return existing_registry(read_tracking(assignments or ()).uri, check_name(model)), model
