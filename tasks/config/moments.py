"""Moments as they are written on a command line."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from tasks.config.errors import ConfigurationError


def parse_as_of(text: str | datetime, timezone: str | None = None) -> datetime:
    """A date (midnight UTC) or a moment; without a zone it is read in ``timezone``, and refused if there is none."""
    try:
        moment = text if isinstance(text, datetime) else _parse_moment(text)
    except ValueError:
        raise ConfigurationError(
            f"as_of: found {text!r}; expected a date such as 2024-12-31 or a moment such as 2024-12-31T17:00:00Z."
        ) from None
    if moment.tzinfo is None and timezone is None:
        raise ConfigurationError(f"as_of: found {text!r} without a zone; write Z after it, or set `source.timezone`.")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(str(timezone)))
    return moment.astimezone(ZoneInfo("UTC"))


def _parse_moment(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), ZoneInfo("UTC"))
    except ValueError:
        return datetime.fromisoformat(text)
