"""Validation errors in the words of the configuration: the key, what was found, what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_PLAIN = {
    r"a valid integer": "a whole number",
    r"a valid (tuple|list)": "a list",
    r"a valid string": "a text, in quotes",
    r"a valid dictionary( or instance of \w+)?": "a table of keys",
}
_OF_ANOTHER_KIND = frozenset({"string_type", "int_type", "int_from_float", "dict_type"})


@dataclass(frozen=True)
class Origins:
    """Who said what of a configuration.

    Attributes
    ----------
    file
        What says all that nothing else does.
    written
        By dotted key, the variable or the option that wrote it.
    """

    file: str
    written: Mapping[str, str]

    def of(self, key: str) -> str:
        """Who wrote a key; of a section, the file and whoever changed it."""
        above = [other for other in self.written if key == other or key.startswith(f"{other}.")]
        if above:
            return self.written[max(above, key=len)]
        below = {origin for other, origin in self.written.items() if not key or other.startswith(f"{key}.")}
        return " with ".join([self.file, *sorted(below)])


def explain(error: ValidationError, settings: type[BaseModel], origins: Origins) -> str:
    """One sentence for every key that is wrong."""
    known = known_keys(settings)
    by_place: dict[tuple[str, ...], list[Any]] = {}
    for detail in error.errors(include_url=False):
        place = [str(part) for part in detail["loc"] if isinstance(part, int)]
        by_place.setdefault((_key(detail, known), *place), []).append(detail)
    problems = [f"{origins.of(key)}: {_sentence(key, details, known)}" for (key, *_), details in by_place.items()]
    return "\n".join(dict.fromkeys(problems))


def nearest(found: str, known: Iterable[str]) -> str:
    """What was expected instead of a name that is not known: the one that is near it, or all."""
    names = list(known)
    return f"one of {', '.join(names)}{_meant(found, names)}"


def _meant(found: object, names: Iterable[str]) -> str:
    close = closest(str(found), names)
    return "" if close is None else f"; did you mean {close!r}?"


def closest(found: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """:func:`hsmm.likeness.closest`, for which the library is not loaded: that takes seconds."""
    meant: str | None = _likeness().closest(found, names, cutoff)
    return meant


@cache
def _likeness() -> ModuleType:
    library = find_spec("hsmm")
    assert library is not None
    assert library.submodule_search_locations
    spec = spec_from_file_location("likeness", Path(library.submodule_search_locations[0]) / "likeness.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def known_keys(settings: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of a configuration, dotted; ``*`` stands for a name the user chooses."""
    keys = []
    for name, field in settings.model_fields.items():
        section = _section(field.annotation)
        own = f"{prefix}{name}"
        keys.append(own)
        if section is not None:
            star = "" if isinstance(field.annotation, type) else ".*"
            keys += known_keys(section, f"{own}{star}.")
    return keys


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for part in get_args(annotation) if (section := _section(part))), None)


def _key(detail: Any, known: list[str]) -> str:
    """The key that a detail is about: without places in lists, and without the kinds of value that a key may have."""
    where = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        return ".".join(where)
    lengths = (n for n in range(len(where), 0, -1) if any(_begins(key.split("."), where[:n]) for key in known))
    return ".".join(where[: next(lengths, len(where))])


def _begins(key: list[str], where: list[str]) -> bool:
    return len(key) >= len(where) and all(a in ("*", b) for a, b in zip(key, where, strict=False))


def _sentence(key: str, details: list[Any], known: list[str]) -> str:
    deepest = max(len(detail["loc"]) for detail in details)
    inner = [detail for detail in details if len(detail["loc"]) == deepest]
    fitting = [detail for detail in inner if detail["type"] not in _OF_ANOTHER_KIND] or inner
    detail = fitting[0]
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_suggestion([str(part) for part in detail['loc']], known)}"
    if detail["type"] == "missing":
        lacks = "a value for it" if ".".join(map(str, detail["loc"])) == key else "more of them"
        return f"{key}: missing; expected {lacks}."
    if detail["type"] == "refused":
        return f"{key}: {detail['msg']}"
    if detail["type"] == "option":
        option, found = detail["ctx"]["option"], detail["ctx"]["found"]
        return f"{key}{'.' if option else ''}{option}: found {found}; expected {ended(detail['msg'])}"
    is_section = isinstance(detail["input"], Mapping | BaseModel)
    found = "" if is_section else f"found {detail['input']!r}; "
    expected = ", or ".join(dict.fromkeys(_expectation(one["msg"]) for one in fitting))
    if detail["type"] == "literal_error":
        expected += _meant(detail["input"], re.findall(r"'([^']*)'", expected))
    return f"{key}: {found}expected {ended(expected)}".removeprefix(": ")


def ended(sentence: str) -> str:
    """A sentence with its full stop, where it does not end in a question."""
    return sentence if sentence.endswith("?") else f"{sentence}."


def _suggestion(where: list[str], known: list[str]) -> str:
    elsewhere = {key.split(".")[-1]: key for key in reversed(known) if "*" not in key}
    if where[-1] in elsewhere:
        return f"did you mean `{elsewhere[where[-1]]}`?"
    siblings = [key for key in known if _is_sibling(key.split("."), where)]
    close = closest(where[-1], [key.split(".")[-1] for key in siblings])
    if close is not None:
        return f"did you mean `{'.'.join([*where[:-1], close])}`?"
    close = closest(where[-1], elsewhere, cutoff=0.75)
    if close is not None:
        return f"did you mean `{elsewhere[close]}`?"
    return "expected one of " + ", ".join(f"`{key.split('.')[-1]}`" for key in siblings) + "."


def _is_sibling(key: list[str], where: list[str]) -> bool:
    same_depth = len(key) == len(where)
    return same_depth and all(a in ("*", b) for a, b in zip(key[:-1], where[:-1], strict=True))


def _expectation(message: str) -> str:
    for prefix in ("Value error, ", "Input should be ", "Input should "):
        message = message.removeprefix(prefix)
    message = message.split(", unable to parse")[0]
    if "should match pattern" in message:  # there is one: that of names
        return "lower-case letters, digits and _, a letter first, at most 63 of them"
    for theirs, ours in _PLAIN.items():
        message = re.sub(theirs, ours, message)
    return message[:1].lower() + message[1:]
