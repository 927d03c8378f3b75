"""Moments as they are written on a command line and told to people: dates and times, or numbers of counted steps."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tasks.config.errors import ConfigurationError


def parse_as_of(
    text: str | datetime, timezone: str | None = None, *, counted: bool = False, option: str = "as_of"
) -> datetime:
    """A date (midnight UTC) or a moment; without a zone it is read in ``timezone``, and refused if there is none.

    Where steps are ``counted``, it is the number of one.
    """
    if counted and isinstance(text, str):
        return _counted_step(text, option)
    try:
        moment = text if isinstance(text, datetime) else _parse_moment(text)
    except ValueError:
        raise ConfigurationError(
            f"{option}: found {text!r}; expected a date such as 2024-12-31 or a moment such as 2024-12-31T17:00:00Z."
        ) from None
    if moment.tzinfo is None and timezone is None:
        raise ConfigurationError(
            f"{option}: found {text!r} without a zone; write Z after it, or set `source.timezone`."
        )
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(str(timezone)))
    return moment.astimezone(ZoneInfo("UTC"))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_LARGEST_STEP = 10**10
_NAMES = ("series_id",)  # these are the user's, whatever they look like


def _counted_step(text: str, option: str) -> datetime:
    if re.fullmatch(r"-?[0-9]{1,11}", text) is None or abs(int(text)) > _LARGEST_STEP:
        raise ConfigurationError(f"{option}: found {text!r}; expected the number of a step, such as 120.")
    return _EPOCH + timedelta(seconds=int(text))


def step_number(moment: datetime) -> int:
    """The number of a counted step."""
    return round(moment.timestamp())


def told_day(moment: datetime, *, counted: bool) -> str:
    """A moment's date, or the number of its step."""
    return str(step_number(moment)) if counted else f"{moment:%Y-%m-%d}"


def in_steps(text: str) -> str:
    """A text in which every moment is the number of its step, for sources whose steps are counted."""
    return MOMENT.sub(lambda found: str(step_number(datetime.fromisoformat(found[0]))), text)


def steps_in(said: Any) -> Any:
    """What is told as JSON, with the numbers of counted steps in place of moments, alone and within sentences."""
    if isinstance(said, dict):
        return {key: held if key in _NAMES else steps_in(held) for key, held in said.items()}
    if isinstance(said, list | tuple):
        return [steps_in(held) for held in said]
    if not isinstance(said, str):
        return said
    return step_number(datetime.fromisoformat(said)) if MOMENT.fullmatch(said) else in_steps(said)


def _parse_moment(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), ZoneInfo("UTC"))
    except ValueError:
        return datetime.fromisoformat(text)
