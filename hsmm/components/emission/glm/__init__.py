"""Emissions that depend on covariates: generalised linear models."""

from hsmm.components.emission.glm.glm import GLM

__all__ = ["GLM"]
