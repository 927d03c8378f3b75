"""Transition families by name."""

from hsmm.components.transition.base import Transition
from hsmm.components.transition.contextual import Contextual
from hsmm.components.transition.dense import Dense
from hsmm.components.transition.left_to_right import LeftToRight
from hsmm.components.transition.masked import Masked
from hsmm.components.transition.sticky import Sticky

_FAMILIES: tuple[type[Transition], ...] = (Dense, Sticky, Masked, LeftToRight, Contextual)
TRANSITIONS: dict[str, type[Transition]] = {family.name: family for family in _FAMILIES}

__all__ = ["TRANSITIONS", "Contextual", "Dense", "LeftToRight", "Masked", "Sticky", "Transition"]
