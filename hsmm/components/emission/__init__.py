"""Emission families by name."""

from hsmm.components.emission.base import Emission
from hsmm.components.emission.categorical import Categorical
from hsmm.components.emission.elliptical import Gaussian, StudentT

EMISSIONS: dict[str, type[Emission]] = {
    family.name: family
    for family in (
        Gaussian,
        StudentT,
        Categorical,
    )
}

__all__ = [
    "EMISSIONS",
    "Categorical",
    "Emission",
    "Gaussian",
    "StudentT",
]
