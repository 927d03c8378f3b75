"""Which known name is meant by one that is not known. It imports nothing of the library, so that a program that only
has a word to say about a name need not load it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LIKE_ENOUGH = 0.75  # of names that begin otherwise: "lognormal" is no "multinomial"
_ALSO_CALLED = {"normal": "gaussian", "t": "studentt"}


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
