"""Emissions whose numbers change with the context of their row."""

from hsmm.components.emission.contextual.contextual import Contextual as Contextual
