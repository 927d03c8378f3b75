"""Families as a configuration names them: by name, or as a table with their options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias, get_type_hints

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError

from tasks.config.settings_errors import nearest

Choice: TypeAlias = "str | dict[str, Any]"
Place: TypeAlias = "Callable[[str, str], int]"

COLUMN_OPTIONS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("product", "columns"): "features",
        **{
            (name, key): "context"
            for name in ("contextual", "gated", "neural", "glm")
            for key in ("columns", "context")
        },
    }
)
"""Options that number columns in the library and name them in a configuration, and which columns these are."""
_OWN = {
    "duration": {"max_duration": "model.max_duration", "min_duration": "model.min_duration"},
    "transition": {"self_transitions": "model.estimator"},
}
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
OUTLINE: Mapping[str, bool] = MappingProxyType({"outline": True})
"""The context of a validation that takes the library's names as they are written, and so does not load it."""


def is_outline(info: ValidationInfo) -> bool:
    """Whether names of families, criteria and rules are not looked up."""
    return bool(info.context and info.context.get("outline"))


def families(kind: str) -> Mapping[str, Any]:
    """What a choice may name: the components of this kind; trainers; ways to split."""
    import hsmm
    from hsmm.components.register import KINDS
    from hsmm.selection import SPLITTERS

    others: dict[str, Mapping[str, Any]] = {"trainer": hsmm.trainers.TRAINERS, "splits": SPLITTERS}
    return others[kind] if kind in others else KINDS[kind].families


def label(choice: Choice) -> str:
    """A choice in one word, or with its options in brackets."""
    if isinstance(choice, str):
        return choice
    options = ", ".join(f"{key}={_word(value)}" for key, value in choice.items() if key != "name")
    return f"{choice['name']}({options})"


def made(kind: str, choice: Choice, features: Sequence[str] = (), context: Sequence[str] = ()) -> Any:
    """The choice as the library takes it: a name, or an object; named columns become their places."""
    if isinstance(choice, str):
        return choice
    known = {"features": list(features), "context": list(context)}
    return _object(kind, choice, lambda which, name: known[which].index(name))


def goes_by_place(choice: Any) -> bool:
    """Whether a choice, or a part of it, gives laws to columns by their places and not by name."""
    if isinstance(choice, dict):
        unnamed = choice.get("name") == "product" and "columns" not in choice
        return unnamed or any(map(goes_by_place, choice.values()))
    return choice == "product" or (isinstance(choice, list | tuple) and any(map(goes_by_place, choice)))


def named_columns(choice: Choice, which: str) -> list[str]:
    """The features, or columns of the context, that a choice names, in order; those of its parts too."""
    if isinstance(choice, str):
        return []
    own = (COLUMN_OPTIONS.get((choice["name"], key), "") for key in choice)
    found = [n for key, kind in zip(choice, own, strict=True) if kind == which for n in _flat(choice[key])]
    inner = [part for value in choice.values() for part in (value if isinstance(value, list) else [value])]
    return found + [n for part in inner if isinstance(part, dict) for n in named_columns(part, which)]


def reads_context(kind: str, choice: Choice) -> bool:
    """Whether this family's tables depend on the context."""
    named = {"name": choice} if isinstance(choice, str) else choice
    law = _object(kind, named, _in_order_of_appearance())
    return bool(law.reads_context if kind == "context" else law.uses_covariates)


def checked(kind: str) -> Callable[[Any, ValidationInfo], Choice]:
    """Refuses a choice that is no family, or whose options are not its own."""

    def check(found: Any, info: ValidationInfo) -> Choice:
        if is_outline(info):
            return found
        choice = found if isinstance(found, dict) else {"name": found}
        _object(kind, choice, _in_order_of_appearance())
        return found["name"] if isinstance(found, dict) and len(found) == 1 else found

    return check


def _in_order_of_appearance() -> Place:
    """Places for names while it is not known which columns there are."""
    seen: dict[str, list[str]] = {}

    def place(which: str, name: str) -> int:
        names = seen.setdefault(which, [])
        if name not in names:
            names.append(name)
        return names.index(name)

    return place


def _object(kind: str, choice: Mapping[str, Any], place: Place) -> Any:
    known, name = families(kind), choice.get("name")
    if not isinstance(name, str) or name not in known:
        raise _refused("name" if len(choice) > 1 else "", name, nearest(str(name), known))
    family = known[name]
    hints = get_type_hints(family)
    own = {f.name: f for f in fields(family) if f.name != "parameters"}
    options: dict[str, Any] = {}
    for key, value in choice.items():
        if key == "name":
            continue
        if key == "context" and (name, key) in COLUMN_OPTIONS:
            key = "columns"
        if key in _OWN.get(kind, _NO_OPTIONS):
            raise _refused(key, value, f"this in `{_OWN[kind][key]}`")
        if key not in own:
            free = [option for option in own if option not in _OWN.get(kind, _NO_OPTIONS)]
            raise _refused(
                key, value, f"no option of {name} but {nearest(key, free)}" if free else f"none: {name} has no options"
            )
        which = COLUMN_OPTIONS.get((name, key))
        options[key] = _typed(key, _built(kind, value, place) if which is None else _placed(value, which, place), hints)
    lacking = [n for n, f in own.items() if f.default is MISSING and f.default_factory is MISSING and n not in options]
    if lacking:
        raise _refused("", name, f'a table with its {" and ".join(lacking)}: {{ name = "{name}", {lacking[0]} = … }}')
    try:
        return family(**options)
    except (ValueError, TypeError) as error:
        raise PydanticCustomError("refused", "{reason}", {"reason": f"{name}: {error}"}) from None


def _built(kind: str, value: Any, place: Place) -> Any:
    """An option that holds families, such as the parts of a product, with objects in their stead."""
    if isinstance(value, dict):
        return _object(kind, value, place)
    return tuple(_built(kind, item, place) for item in value) if isinstance(value, list) else value


def _placed(value: Any, which: str, place: Place) -> Any:
    if isinstance(value, list):
        return tuple(_placed(item, which, place) for item in value)
    if not isinstance(value, str):
        raise _refused("columns", value, f"names of {which}")
    return place(which, value)


def _typed(key: str, value: Any, hints: Mapping[str, Any]) -> Any:
    """The value, if the library's annotation allows it."""
    try:
        TypeAdapter(hints[key], config={"arbitrary_types_allowed": True, "strict": True}).validate_python(value)
    except ValidationError as error:
        expected = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise _refused(key, value, expected) from None
    return value


def _refused(option: str, found: Any, expected: str) -> PydanticCustomError:
    return PydanticCustomError("option", "{expected}", {"option": option, "found": repr(found), "expected": expected})


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return label(value)
    return f"[{', '.join(map(_word, value))}]" if isinstance(value, list) else str(value)


def _flat(value: Any) -> list[str]:
    return [name for item in value for name in _flat(item)] if isinstance(value, list) else [value]


def _as_candidates(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _distinct(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    written = [json.dumps(choice, sort_keys=True, default=str) for choice in choices]
    if not choices or len(set(written)) < len(written):
        raise ValueError("at least one candidate, none of them twice")
    return choices


def _one(kind: str) -> Any:
    return Annotated[Any, AfterValidator(checked(kind))]


def _several(kind: str) -> Any:
    check = checked(kind)
    each = AfterValidator(lambda choices, info: tuple(check(choice, info) for choice in choices))
    return Annotated[tuple[Any, ...], BeforeValidator(_as_candidates), each, AfterValidator(_distinct)]


Emissions = _several("emission")
Durations = _several("duration")
Transitions = _several("transition")
Initials = _several("initial")
Encoders = _several("context")
TrainerChoice = _one("trainer")
SplitsChoice = _one("splits")
