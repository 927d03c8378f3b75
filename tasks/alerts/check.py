"""Whether alerts can be made as the configuration says: before a source is read, or anything is loaded that fits."""

from __future__ import annotations

from tasks.alerts.hook import hook_call
from tasks.alerts.rule import rule_for
from tasks.config.settings import Settings


def check_alerts(settings: Settings) -> None:
    """Raises ``ConfigurationError`` for a state that there is not, or a hook that is not there to be called."""
    rule_for(settings)
    if settings.alerts.hook is not None:
        hook_call(settings.alerts.hook)
