"""Moments as they are written on a command line."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tasks.config.errors import ConfigurationError


def parse_as_of(text: str | datetime, timezone: str | None = None, *, counted: bool = False) -> datetime:
    """A date (midnight UTC) or a moment; without a zone it is read in ``timezone``, and refused if there is none.

    Where steps are ``counted``, their number is a moment too.
    """
    if counted and isinstance(text, str) and text.lstrip("-").isdecimal():
        return _EPOCH + timedelta(seconds=int(text))
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


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")


def in_steps(text: str) -> str:
    """A text in which every moment is the number of its step, for sources whose steps are counted."""
    return _MOMENT.sub(lambda found: str(round(datetime.fromisoformat(found[0]).timestamp())), text)


def _parse_moment(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), ZoneInfo("UTC"))
    except ValueError:
        return datetime.fromisoformat(text)
