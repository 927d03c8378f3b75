"""After a night: the newest version that passed its gate becomes the champion, if it is not yet."""

from __future__ import annotations

from prefect import flow

from tasks.config.outcome import Promotion
from tasks.config.settings import read_settings
from tasks.judgement.promote import promote_newest_task, promote_task, rollback_task
from tasks.registry.client import existing_registry


@flow(name="promotion", validate_parameters=True)
def promotion(config: str, version: int | None = None, overrides: list[str] | None = None) -> Promotion:
    """Promote a version of the configuration's model, by default the newest that passed its gate."""
    settings = read_settings(config, overrides or ())
    registry = existing_registry(settings.tracking.uri, settings.name)
    if version is None:
        return promote_newest_task(registry, settings.name, settings.output.states)
    return promote_task(registry, settings.name, version, table=settings.output.states)


@flow(name="rollback", validate_parameters=True)
def rolled_back(config: str, overrides: list[str] | None = None) -> Promotion:
    """Make the champion before the present one the champion again."""
    settings = read_settings(config, overrides or ())
    registry = existing_registry(settings.tracking.uri, settings.name)
    return rollback_task(registry, settings.name, settings.output.states)
