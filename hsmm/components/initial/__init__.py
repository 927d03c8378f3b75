"""Laws of the first state by name: each module of this package is looked through for them."""

from hsmm.components.initial.contextual import ContextualInitial as ContextualInitial
from hsmm.components.initial.factorial import FactorialInitial as FactorialInitial
from hsmm.components.initial.laws import INITIALS as INITIALS
from hsmm.components.initial.laws import FixedInitial as FixedInitial
from hsmm.components.initial.laws import FreeInitial as FreeInitial
from hsmm.components.initial.laws import Initial as Initial
from hsmm.components.initial.laws import StationaryInitial as StationaryInitial
from hsmm.components.initial.laws import UniformInitial as UniformInitial
from hsmm.components.register import import_beside

import_beside(__name__, __path__)
