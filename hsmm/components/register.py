"""Every family by its kind and its name: a class that states a ``name`` enrols itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hsmm.spelling import nearest


@dataclass(frozen=True)
class Kind:
    """What may stand for one table of a model: families by name, or any object of their base."""

    base: Any
    families: dict[str, Any] = field(default_factory=dict)


KINDS: dict[str, Kind] = {}
"""By the name of the table; a family is here once the module that defines it has been imported."""


def enrol(made: type) -> None:
    """Enter a class that states its ``kind`` as that kind's base, one that states its ``name`` as a family.

    Raises ``ValueError`` for a name that another class has.
    """
    if "kind" in made.__dict__:
        KINDS[made.__dict__["kind"]] = Kind(made)
    elif "name" in made.__dict__:
        kind, name = getattr(made, "kind"), made.__dict__["name"]  # noqa: B009 - typing cannot know of it
        known = KINDS[kind].families.get(name)
        if known is not None and _place(known) != _place(made):
            raise ValueError(f"the {kind} {name!r} is {_place(known)} already; give {_place(made)} another name.")
        KINDS[kind].families[name] = made


def import_beside(package: str, path: Iterable[str]) -> None:
    """Import all modules of a package, so that the families in them are enrolled."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def resolve(kind: str, choice: Any, inside: str | None = None) -> Any:
    """A component of this kind from its name or from an object; ``inside`` is the family it is to be part of.

    Raises ``ValueError`` for anything else.
    """
    families = KINDS[kind].families
    if isinstance(choice, KINDS[kind].base):
        return choice
    if not isinstance(choice, str) or choice not in families:
        where = kind if kind == "context" else f"{kind}s"
        found = f"{kind} is {choice!r}" if inside is None else f"{choice!r} stands in a {inside}"
        raise ValueError(
            f"{found}; expected one of {', '.join(families)}, or an object of hsmm.{where}{nearest(choice, families)}"
        )
    try:
        return families[choice]()
    except TypeError as error:
        raise ValueError(f"{kind} {choice!r} needs arguments ({error}); give an object instead of its name.") from None


def module_of(family: type) -> str | None:
    """The module that must be imported before a family is known; None for those that always are."""
    return None if family.__module__.startswith("hsmm.") else family.__module__


def _place(made: type) -> str:
    return f"{made.__module__}.{made.__qualname__}"
