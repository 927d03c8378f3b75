"""Duration families by name: each module of this package is looked through for them."""

from hsmm.components.duration.base import DURATIONS as DURATIONS
from hsmm.components.duration.base import Duration as Duration
from hsmm.components.duration.base import DurationCounts as DurationCounts
from hsmm.components.duration.base import DurationTables as DurationTables
from hsmm.components.duration.base import UncensoredCounts as UncensoredCounts
from hsmm.components.duration.categorical import Categorical as Categorical
from hsmm.components.duration.contextual import Contextual as Contextual
from hsmm.components.duration.parametric import Gamma as Gamma
from hsmm.components.duration.parametric import Geometric as Geometric
from hsmm.components.duration.parametric import LogNormal as LogNormal
from hsmm.components.duration.parametric import NegativeBinomial as NegativeBinomial
from hsmm.components.duration.parametric import Poisson as Poisson
from hsmm.components.duration.weibull import Weibull as Weibull
from hsmm.components.register import import_beside

import_beside(__name__, __path__)
