"""Names that are not known, answered with the nearest that are; and nouns in their number."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Iterable
from typing import Any, Self

from hsmm.errors import UnknownOptionError

_LIKE_ENOUGH = 0.75  # of names that begin otherwise: "lognormal" is no "multinomial"
_ALSO_CALLED = {"normal": "gaussian", "t": "studentt"}


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: "; did you mean 'n_states'?", or a full stop where none is near."""
    found = closest(name, known)
    return "." if found is None else f"; did you mean {found!r}?"


def closest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like this one in whatever letters and signs, or the only one that it abbreviates, or
    what is called by it elsewhere.

    ``cutoff`` is how like it must be, from 0 to 1; None where none is.
    """
    by_letters, written = {_letters(other): other for other in known}, _letters(str(name))
    written = _ALSO_CALLED.get(written, written)
    found = difflib.get_close_matches(written, by_letters, n=1, cutoff=cutoff)
    if found and found[0][:1] != written[:1] and _likeness(written, found[0]) < _LIKE_ENOUGH:
        found = []
    if not found:
        meant = [other for other in by_letters if _abbreviates(written, other)]
        found = meant if len(meant) == 1 else []
    return by_letters[found[0]] if found else None


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _letters(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum() or sign == ".")


def _abbreviates(short: str, long: str) -> bool:
    """Whether a name leaves out letters of another, such as "negbin", but not the first."""
    letters = iter(long)
    return len(short) > 1 and short[0] == long[:1] and all(letter in letters for letter in short)


def counted(number: int, noun: str) -> str:
    """A number and what it counts: "1 state", "2 states"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Spelled:
    """A class whose constructor takes only the arguments it names, and says which was meant instead of another."""

    def __new__(cls, *arguments: Any, **options: Any) -> Self:  # noqa: ARG004
        check_options(cls, options)
        return super().__new__(cls)


def check_options(made: type, options: Iterable[str]) -> None:
    """Raise ``UnknownOptionError`` where the constructor of ``made`` does not take an option."""
    known = constructor_options(made)
    for name in options:
        if name not in known:
            raise UnknownOptionError(
                f"{made.__name__} has no option {name!r}{nearest(name, known)} It takes {', '.join(known)}."
            )


@functools.cache
def constructor_options(made: type) -> tuple[str, ...]:
    """Names of the arguments that the constructor takes, in their order."""
    return tuple(name for name in inspect.signature(made.__init__).parameters if name != "self")  # type: ignore[misc]
