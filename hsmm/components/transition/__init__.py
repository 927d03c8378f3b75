"""Transition families by name: each module of this package is looked through for them."""

from hsmm.components.register import import_beside
from hsmm.components.transition.banded import Banded as Banded
from hsmm.components.transition.base import TRANSITIONS as TRANSITIONS
from hsmm.components.transition.base import Transition as Transition
from hsmm.components.transition.contextual import Contextual as Contextual
from hsmm.components.transition.dense import Dense as Dense
from hsmm.components.transition.factorial import Factorial as Factorial
from hsmm.components.transition.gated import Gated as Gated
from hsmm.components.transition.left_to_right import LeftToRight as LeftToRight
from hsmm.components.transition.low_rank import LowRank as LowRank
from hsmm.components.transition.masked import Masked as Masked
from hsmm.components.transition.neural import Neural as Neural
from hsmm.components.transition.sticky import Sticky as Sticky

import_beside(__name__, __path__)
