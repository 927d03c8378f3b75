"""A registered model, as commands name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.registry.client import Registry


def registered(model: str, assignments: Sequence[str] | None) -> tuple[Registry, str, str | None]:
    """The tracking server, the model's name and its table, as a configuration says; of a name, the server that
    variables say, and no table.
    """
    from tasks.config.settings import check_name, read_outline, read_tracking
    from tasks.registry.client import existing_registry

    if model.endswith(".toml"):
        settings = read_outline(model, assignments or ())
        return existing_registry(settings.tracking.uri, settings.name), settings.name, settings.output.states
    return existing_registry(read_tracking(assignments or ()).uri, check_name(model)), model, None
