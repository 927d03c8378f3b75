"""Transition families by name."""

from hsmm.components.transition.base import Transition
from hsmm.components.transition.dense import Dense

TRANSITIONS: dict[str, type[Transition]] = {Dense.name: Dense}

__all__ = ["TRANSITIONS", "Dense", "Transition"]
