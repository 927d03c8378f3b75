"""Calls that check what signatures say of shapes: axes of one name have one size throughout a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from jaxtyping import AbstractArray, jaxtyped
from torch import Tensor


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The function's answer, once arguments and answer have the shapes that its annotations give."""
    hints = _hints(function)
    given = inspect.signature(function).bind(*arguments, **options).arguments
    with jaxtyped("context"):
        for name, value in given.items():
            _check(hints.get(name), value, f"{function.__qualname__}({name})")
        answer = function(*arguments, **options)
        _check(hints.get("return"), answer, f"{function.__qualname__} -> ")
    return answer


def annotates_shapes(function: Callable[..., Any]) -> bool:
    """Whether the annotations of a function, or of what it takes and gives, name axes."""
    hints = _hints(function).values()
    return any(_shapes(hint) or (is_dataclass(hint) and any(map(_shapes, _hints(hint).values()))) for hint in hints)


def _hints(annotated: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(annotated)
    except NameError:  # of what is imported for the type checker alone
        return {}


def _shapes(hint: Any) -> list[Any]:
    alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [shape for shape in alternatives if inspect.isclass(shape) and issubclass(shape, AbstractArray)]


def _check(hint: Any, value: Any, where: str) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        for name, own in _hints(type(value)).items():
            if _shapes(own):
                _check(own, getattr(value, name), f"{where}.{name}")
    arrays = _shapes(hint)
    if isinstance(value, Tensor) and arrays:
        assert any(isinstance(value, shape) for shape in arrays), f"{where} is {tuple(value.shape)}, not {hint}"
