"""Lengths of time as they are written in a configuration: ``1bd``, ``15m``, ``10y``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CALENDAR_DAYS = {"bd": 1.4, "mo": 30.4, "q": 91.3, "y": 365.25}
_DAYS = _CALENDAR_DAYS | {unit: seconds / 86_400 for unit, seconds in _SECONDS.items()}
_IN_A_YEAR = {"mo": 12, "q": 4}
_LONGEST = 146_100  # days: beyond, moments leave the years that a calendar can count
_COUNTED = re.compile(r"(\d+)([a-z]+)")
_PART = re.compile(r"([1-9]\d*)(ms|mo|bd|s|m|h|d|w|q|y)")


def parse_frequency(text: str) -> str:
    """A step of the calendar; raises ``ValueError`` for anything else."""
    match = _PART.fullmatch(text)
    if match is None or (match[2] == "bd" and match[1] != "1"):
        raise ValueError("one step such as 1bd, 1d, 1h, 15m, 30s, 1w, 1mo, 1q or 1y")
    if _IN_A_YEAR.get(match[2], 0) % int(match[1]):
        raise ValueError("steps of months that divide a year, so that each year has the same: 1mo, 2mo, 1q, 4mo or 2q")
    _require_short(text)
    return text


def _require_short(text: str) -> None:
    days = sum(int(count) * _DAYS[unit] for count, unit in _COUNTED.findall(text))
    if days > _LONGEST:
        raise ValueError("a length of at most 400 years")


def _as_text(found: Any) -> Any:
    """Nothing may be written as a number."""
    return str(found) if type(found) is int else found


def _parse_delay(text: str) -> str:
    if text != "0" and (re.fullmatch(r"(\d+(ms|s|m|h|d|w))+", text) is None):
        raise ValueError("a fixed delay such as 0, 30m, 1d or 1d12h")
    _require_short(text)
    return text


def _parse_window(text: str) -> str:
    match = _PART.fullmatch(text)
    if text != "all" and (match is None or match[2] in ("ms", "bd")):
        raise ValueError('"all", or a length such as 10y, 18mo or 90d')
    _require_short(text)
    return text


Delay = Annotated[str, BeforeValidator(_as_text), AfterValidator(_parse_delay)]
Window = Annotated[str, AfterValidator(_parse_window)]


def as_timedelta(delay: str) -> timedelta:
    """A fixed delay as an exact length of time."""
    parts = re.findall(r"(\d+)(ms|s|m|h|d|w)", delay)
    return timedelta(seconds=sum(int(count) * _SECONDS[unit] for count, unit in parts))


def typical_length(frequency: str) -> timedelta:
    """Roughly how long one step lasts; calendar units vary."""
    count, unit = _PART.fullmatch(frequency).groups()  # type: ignore[union-attr]
    if unit in _CALENDAR_DAYS:
        return timedelta(days=int(count) * _CALENDAR_DAYS[unit])
    return timedelta(seconds=int(count) * _SECONDS[unit])
