"""Transition families by name."""

from hsmm.components.transition.dense import Dense

TRANSITIONS: dict[str, type[Dense]] = {Dense.name: Dense}

__all__ = ["TRANSITIONS", "Dense"]
