"""Hidden semi-Markov models: fit them, query them, choose among them."""

from importlib.metadata import PackageNotFoundError, version

import hsmm._waiting  # noqa: F401
from hsmm import inference, metrics, plot
from hsmm.causality import Causality, check_causal
from hsmm.components import context
from hsmm.components import duration as durations
from hsmm.components import emission as emissions
from hsmm.components import initial as initials
from hsmm.components import transition as transitions
from hsmm.identity import StateMatch, match_states
from hsmm.models import (
    DSSM,
    GLMHMM,
    HMM,
    HSMM,
    Estimator,
    FactorialHMM,
    PartialPooling,
    StreamState,
    load,
    load_filter_state,
    load_models,
    save_models,
)
from hsmm.models.glm import options as regularizers
from hsmm.potentials import Potentials
from hsmm.selection import Selection, UnitSelection, select_model, select_units
from hsmm.sequences import Sequences
from hsmm.training import trainers

try:
    __version__ = version("hsmm-flows")
except PackageNotFoundError:
    __version__ = "uninstalled"

__all__ = [
    "DSSM",
    "GLMHMM",
    "HMM",
    "HSMM",
    "Causality",
    "Estimator",
    "FactorialHMM",
    "PartialPooling",
    "Potentials",
    "Selection",
    "Sequences",
    "StateMatch",
    "StreamState",
    "UnitSelection",
    "check_causal",
    "context",
    "durations",
    "emissions",
    "inference",
    "initials",
    "load",
    "load_filter_state",
    "load_models",
    "match_states",
    "metrics",
    "plot",
    "regularizers",
    "save_models",
    "select_model",
    "select_units",
    "trainers",
    "transitions",
]
