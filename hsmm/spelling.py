"""Names that are not known, answered with the nearest that are; and nouns in their number."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any, Self

from hsmm.errors import UnknownOptionError
from hsmm.likeness import closest

_OF_HMMLEARN = {"n_components": "n_states", "n_iter": "max_iter", "covariance_type": "emission"}


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: "; did you mean 'n_states'?", or a full stop where none is near."""
    names, meant = tuple(known), _OF_HMMLEARN.get(str(name))
    found = meant if meant in names else closest(name, names)
    return "." if found is None else f"; did you mean {found!r}?"


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
            elsewhere = getattr(made, "OPTIONS_OF_OTHERS", {}).get(name)
            there = nearest(name, known) if elsewhere is None else f", which {elsewhere} has."
            raise UnknownOptionError(f"{made.__name__} has no option {name!r}{there} It takes {', '.join(known)}.")


@functools.cache
def constructor_options(made: type) -> tuple[str, ...]:
    """Names of the arguments that the constructor takes, in their order."""
    return tuple(name for name in inspect.signature(made.__init__).parameters if name != "self")  # type: ignore[misc]
