"""Duration families by name."""

from hsmm.components.duration.base import Duration, DurationCounts, DurationTables
from hsmm.components.duration.categorical import Categorical
from hsmm.components.duration.parametric import Gamma, Geometric, LogNormal, NegativeBinomial, Poisson

DURATIONS: dict[str, type[Duration]] = {
    family.name: family for family in (Categorical, Geometric, NegativeBinomial, Poisson, Gamma, LogNormal)
}

__all__ = [
    "DURATIONS",
    "Categorical",
    "Duration",
    "DurationCounts",
    "DurationTables",
    "Gamma",
    "Geometric",
    "LogNormal",
    "NegativeBinomial",
    "Poisson",
]
