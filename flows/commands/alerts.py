"""What deserves a look."""

from __future__ import annotations

from flows.commands.answer import print_json
from flows.commands.options import AsJson, Assignments, Config
from flows.console import print_line


def alerts(
    config: Config, *, every: bool = False, series: str | None = None, set_: Assignments = None, json_: AsJson = False
) -> None:
    """List the alerts that are open, newest last, and those of the newest night.

    Parameters
    ----------
    every
        All there ever were.
    series
        Only those of this series.
    """
    from tasks.alerts.show import alerts_as_text, listed_alerts
    from tasks.config.settings import read_settings

    settings = read_settings(config, set_ or ())
    said = listed_alerts(settings, series=series, every=every)
    print_line(alerts_as_text(said, counted=settings.source.counts_steps))
    print_json(said, json_, counted=settings.source.counts_steps)
