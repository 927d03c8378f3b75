"""Whether a value is of the kind that its key holds: what a conversion could make of it is not what was written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any, Literal, get_args, get_origin

_NUMBERS = frozenset({int, float})


def check_kind(value: Any, annotation: Any) -> None:
    """Raises ``ValueError`` for a text or a truth value where a number is meant, for anything else where a truth value
    is, and for a number where a date is; values in lists are looked at one by one, sections look at their own.
    """
    kinds = _kinds(annotation)
    for one in _each(value):
        expected = _expected_instead(one, kinds)
        if expected is not None:
            raise ValueError(expected)


def _expected_instead(one: Any, kinds: frozenset[Any]) -> str | None:
    if Any in kinds or type(one) in kinds:
        return None
    if bool in kinds and isinstance(one, str | int | float):
        return "true or false, without quotes"
    if kinds & _NUMBERS and str not in kinds and (isinstance(one, bool) or _is_number_as_text(one)):
        return f"{'a number' if float in kinds else 'a whole number'}, without quotes"
    if kinds & _NUMBERS and isinstance(one, bool):
        return "a number, or a text in quotes"
    return "a date such as 2026-12-25" if date in kinds and isinstance(one, int | float) else None


def _is_number_as_text(value: Any) -> bool:
    """Others are refused in any case, with what else is expected of them."""
    try:
        return isinstance(value, str) and isinstance(float(value), float)
    except ValueError:
        return False


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _each(one)
    else:
        yield value


@cache
def _kinds(annotation: Any) -> frozenset[Any]:
    if get_origin(annotation) is Literal:
        return frozenset(map(type, get_args(annotation)))
    parts = get_args(annotation)
    return frozenset().union(*map(_kinds, parts)) if parts else frozenset({annotation})
