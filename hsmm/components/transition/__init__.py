"""Transition families by name."""

from hsmm.components.transition.base import Transition
from hsmm.components.transition.dense import Dense
from hsmm.components.transition.left_to_right import LeftToRight
from hsmm.components.transition.masked import Masked
from hsmm.components.transition.sticky import Sticky

TRANSITIONS: dict[str, type[Transition]] = {family.name: family for family in (Dense, Sticky, Masked, LeftToRight)}

__all__ = ["TRANSITIONS", "Dense", "LeftToRight", "Masked", "Sticky", "Transition"]
