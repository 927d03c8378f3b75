"""Numbers and names as a reader sees them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

NOTHING = "–"  # noqa: RUF001 - a dash, not a minus
LONGEST_NAME = 60
_MINUS = "−"  # noqa: RUF001 - the sign that aligns with digits


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` significant ones, thousands parted; a dash where there is no number."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    written = f",.{max(digits - 1 - exponent, 0)}f" if -5 <= exponent < 15 else f".{digits - 1}e"
    return f"{value:{written}}".replace("-", _MINUS)


def steps(value: float | None) -> str:
    """A number of steps, to a tenth of one."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.1f}"


def count(value: int) -> str:
    return f"{value:,}"


def share(value: float | None) -> str:
    """A fraction as a percentage."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def moment(value: Any, *, counted: bool = False) -> str:
    """A datetime's date, and its time of day where that is not midnight; where steps are ``counted``, their number."""
    if not isinstance(value, datetime):
        return NOTHING
    if counted:
        return count(round(value.timestamp()))
    return f"{value:%Y-%m-%d}" if value.time() == datetime.min.time() else f"{value:%Y-%m-%d %H:%M}"


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that leaves room for others."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def plain(value: Any) -> str:
    """Any recorded value, on one line."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return f"{value:,.5g}".replace("-", _MINUS)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    return str(value)
