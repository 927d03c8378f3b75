"""Tables, and parts of tables, that training leaves as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from hsmm.components.base import Component
from hsmm.components.model import Model
from hsmm.spelling import nearest


def check_frozen(frozen: Iterable[str], structure: Model) -> frozenset[str]:
    """The names, if each is a table of this structure or "table.parameter". Raises ``ValueError`` otherwise."""
    if isinstance(frozen, str):
        raise ValueError(f"frozen is {frozen!r}; expected a tuple of names, such as ({frozen!r},).")
    names = frozenset(frozen)
    parts = structure.components()
    for name in names:
        kind, _, part = str(name).partition(".")
        if kind not in parts:
            raise ValueError(
                f"frozen names {name!r}; expected one of {', '.join(parts)}, or a part of one{nearest(kind, parts)}"
            )
        known = parts[kind].state_axes
        if part and part not in known:
            raise ValueError(f"frozen names {name!r}, but the {kind} has {', '.join(known)}.")
        if "." not in name and any(other.startswith(f"{kind}.") for other in names):
            raise ValueError(f"frozen names {kind} and a part of it; leave the part out.")
    whole = {kind for kind in parts if set(parts[kind].state_axes) == frozen_parts(names, kind)}
    return frozenset(name for name in names if name.partition(".")[0] not in whole) | whole


def frozen_parts(frozen: frozenset[str], kind: str) -> frozenset[str]:
    """The parameters of this table that are frozen by name; empty where the whole table is, or nothing of it."""
    return frozenset(name.partition(".")[2] for name in frozen if name.startswith(f"{kind}."))


def with_frozen(model: Model, before: Model, frozen: frozenset[str]) -> Model:
    """``model`` with what is frozen as it was before."""
    if not frozen:
        return model
    old = before.components()
    changed: dict[str, Component] = {}
    for kind, part in model.components().items():
        if kind in frozen:
            changed[kind] = old[kind]
        elif names := frozen_parts(frozen, kind):
            changed[kind] = part.with_parameters(**{name: old[kind].parameters[name] for name in names})
    return replace(model, **changed)  # type: ignore[arg-type]


def is_frozen(frozen: frozenset[str], coordinate: str) -> bool:
    """Whether a coordinate "table.parameter" of :meth:`Model.free` keeps its value."""
    return coordinate in frozen or coordinate.partition(".")[0] in frozen


def n_learnt(model: Model, frozen: frozenset[str]) -> int:
    """Free parameters of one model but for those that are frozen."""
    parts = model.components()
    return sum(
        size - sum(n_coordinates(parts[kind], name) for name in frozen_parts(frozen, kind))
        for kind, size in model.n_parameters_by_kind().items()
        if kind not in frozen
    )


def n_coordinates(part: Component, name: str) -> int:
    """Free numbers of one parameter of one model."""
    value = part.parameters[name][0]
    kind = part.constraints().get(name)
    for axis in part.shared_axes().get(name, ()):
        value = value.narrow(axis - 1, 0, 1)
    if kind == "matrix":
        *stack, size, _ = value.shape
        return math.prod(stack) * size * (size + 1) // 2
    if kind == "simplex":
        positive = value > 0
        return int(positive.sum() - positive.any(-1).sum())
    return value.numel() if kind is not None else 0
