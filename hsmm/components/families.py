"""Every family by the kind of its table and its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hsmm.components.base import Component
from hsmm.components.duration import DURATIONS, Duration
from hsmm.components.emission import EMISSIONS, Emission
from hsmm.components.initial import INITIALS, Initial
from hsmm.components.transition import TRANSITIONS, Transition


@dataclass(frozen=True)
class Kind:
    """What may stand for one table of a model: families by name, or any object of their base."""

    base: Any
    families: Mapping[str, type[Component]]


KINDS: dict[str, Kind] = {
    "initial": Kind(Initial, INITIALS),
    "transition": Kind(Transition, TRANSITIONS),
    "duration": Kind(Duration, DURATIONS),
    "emission": Kind(Emission, EMISSIONS),
}


def resolve(kind: str, choice: Any) -> Any:
    """A component of this kind from its name or from an object. Raises ``ValueError`` for anything else."""
    families = KINDS[kind].families
    if isinstance(choice, KINDS[kind].base):
        return choice
    if not isinstance(choice, str) or choice not in families:
        raise ValueError(f"{kind} is {choice!r}; expected one of {', '.join(families)}, or an object of hsmm.{kind}s.")
    try:
        return families[choice]()
    except TypeError as error:
        raise ValueError(f"{kind} {choice!r} needs arguments ({error}); give an object instead of its name.") from None
