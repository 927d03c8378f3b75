"""Emission families by name."""

from hsmm.components.emission.base import EMISSIONS, Emission
from hsmm.components.emission.bernoulli import Bernoulli
from hsmm.components.emission.categorical import Categorical
from hsmm.components.emission.elliptical import Gaussian, StudentT
from hsmm.components.emission.gamma import Gamma
from hsmm.components.emission.glm import GLM
from hsmm.components.emission.mixture import Mixture
from hsmm.components.emission.multinomial import Multinomial
from hsmm.components.emission.negative_binomial import NegativeBinomial
from hsmm.components.emission.poisson import Poisson
from hsmm.components.emission.product import Product

_FAMILIES: tuple[type[Emission], ...] = (
    Gaussian,
    StudentT,
    Categorical,
    Bernoulli,
    Multinomial,
    Poisson,
    NegativeBinomial,
    Gamma,
    GLM,
    Mixture,
    Product,
)
EMISSIONS.update({family.name: family for family in _FAMILIES})

__all__ = [
    "EMISSIONS",
    "GLM",
    "Bernoulli",
    "Categorical",
    "Emission",
    "Gamma",
    "Gaussian",
    "Mixture",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
    "Product",
    "StudentT",
]
