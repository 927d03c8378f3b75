"""Emissions that depend on covariates: generalised linear models."""

from hsmm.components.emission.glm.glm import GLM, Standardise

__all__ = ["GLM", "Standardise"]
