"""Emission families by name."""

from hsmm.components.emission.base import Emission
from hsmm.components.emission.bernoulli import Bernoulli
from hsmm.components.emission.categorical import Categorical
from hsmm.components.emission.elliptical import Gaussian, StudentT
from hsmm.components.emission.gamma import Gamma
from hsmm.components.emission.glm import GLM
from hsmm.components.emission.negative_binomial import NegativeBinomial
from hsmm.components.emission.poisson import Poisson

EMISSIONS: dict[str, type[Emission]] = {
    family.name: family
    for family in (
        Gaussian,
        StudentT,
        Categorical,
        Bernoulli,
        Poisson,
        NegativeBinomial,
        Gamma,
        GLM,
    )
}

__all__ = [
    "EMISSIONS",
    "GLM",
    "Bernoulli",
    "Categorical",
    "Emission",
    "Gamma",
    "Gaussian",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
]
