"""Validation errors in the words of the configuration: the key, what was found, what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, settings: type[BaseModel], origin: str) -> str:
    """One sentence for every key that is wrong."""
    known = known_keys(settings)
    problems = [_sentence(detail, known) for detail in error.errors(include_url=False)]
    return "\n".join(f"{origin}: {problem}" for problem in dict.fromkeys(problems))


def nearest(found: str, known: Iterable[str]) -> str:
    """What was expected instead of a name that is not known: the one that is near it, or all."""
    names = list(known)
    close = get_close_matches(found, names, n=1, cutoff=0.6)
    return f"one of {', '.join(names)}" + (f"; did you mean {close[0]!r}?" if close else "")


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


def _sentence(detail: Any, known: list[str]) -> str:
    where = [str(part) for part in detail["loc"]]
    key = ".".join(where)
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_suggestion(where, known)}"
    if detail["type"] == "missing":
        return f"{key}: missing; expected a value for it."
    if detail["type"] == "refused":
        return f"{key}: {detail['msg']}"
    if detail["type"] == "option":
        option, found = detail["ctx"]["option"], detail["ctx"]["found"]
        return f"{key}{'.' if option else ''}{option}: found {found}; expected {_ended(detail['msg'])}"
    is_section = isinstance(detail["input"], Mapping | BaseModel)
    found = "" if is_section else f"found {detail['input']!r}; "
    return f"{key}: {found}expected {_ended(_expectation(detail['msg']))}".removeprefix(": ")


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."


def _suggestion(where: list[str], known: list[str]) -> str:
    elsewhere = {key.split(".")[-1]: key for key in reversed(known) if "*" not in key}
    if where[-1] in elsewhere:
        return f"did you mean `{elsewhere[where[-1]]}`?"
    siblings = [key for key in known if _is_sibling(key.split("."), where)]
    close = get_close_matches(where[-1], [key.split(".")[-1] for key in siblings], n=1, cutoff=0.6)
    if close:
        return f"did you mean `{'.'.join([*where[:-1], close[0]])}`?"
    close = get_close_matches(where[-1], list(elsewhere), n=1, cutoff=0.75)
    if close:
        return f"did you mean `{elsewhere[close[0]]}`?"
    return "expected one of " + ", ".join(f"`{key.split('.')[-1]}`" for key in siblings) + "."


def _is_sibling(key: list[str], where: list[str]) -> bool:
    same_depth = len(key) == len(where)
    return same_depth and all(a in ("*", b) for a, b in zip(key[:-1], where[:-1], strict=True))


def _expectation(message: str) -> str:
    for prefix in ("Value error, ", "Input should be ", "Input should "):
        message = message.removeprefix(prefix)
    return message[:1].lower() + message[1:]
