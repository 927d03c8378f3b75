"""The options of a GLM-HMM as plain values, and back; functions go by name and are given back by the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from hsmm.models.glm import options as words


def described(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as plain values; functions by name."""
    made: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            made[name] = {"entries": {key: plain(part) for key, part in value.items()}}
            if any(isinstance(part, dict) and "function" in part for part in made[name]["entries"].values()):
                made[name]["function"] = True
        else:
            made[name] = plain(value)
    made["observation_model"] = words.family(options["observation_model"])
    kind = words.regularizer(options["regularizer"])
    made["regularizer"] = type(kind).__name__
    if isinstance(kind, words.GroupLasso) and kind.mask is not None:
        made["regularizer"] = {"mask": np.asarray(kind.mask).tolist()}
    return made


def plain(value: Any) -> Any:
    """A value that JSON can hold; a function is its name."""
    if callable(value):
        return {"function": getattr(value, "__name__", type(value).__name__)}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list, np.ndarray, Tensor)) or hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    return value


def restored(options: Mapping[str, Any], functions: Mapping[str, Any]) -> dict[str, Any]:
    """The options that :func:`described` made plain, with ``functions`` by their option's name."""
    made = dict(options)
    if isinstance(made["regularizer"], dict):
        made["regularizer"] = words.GroupLasso(made["regularizer"]["mask"])
    for name, value in options.items():
        if isinstance(value, dict) and "entries" in value:
            made[name] = {key: _function(key, part, functions) for key, part in value["entries"].items()}
        elif name != "regularizer":
            made[name] = _function(name, value, functions)
    return made


def _function(name: str, value: Any, functions: Mapping[str, Any]) -> Any:
    if not isinstance(value, dict) or "function" not in value:
        return value
    if name not in functions:
        raise ValueError(
            f"{name} was the function {value['function']!r}; give it back as mapping_dict={{{name!r}: ...}}."
        )
    return functions[name]
