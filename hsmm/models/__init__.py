"""Estimators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hsmm.io import load_model
from hsmm.models.base import Estimator
from hsmm.models.dssm import DSSM
from hsmm.models.factorial import stored
from hsmm.models.factorial_hmm import FactorialHMM
from hsmm.models.glm_hmm import GLMHMM
from hsmm.models.hmm import HMM
from hsmm.models.hsmm import HSMM
from hsmm.models.many import ESTIMATORS, load_models, made_estimator, save_models
from hsmm.models.partial_pooling import FILE as PARTIAL_POOLING
from hsmm.models.partial_pooling import PartialPooling
from hsmm.models.streaming import StreamState, load_filter_state

E = TypeVar("E", bound=Estimator | GLMHMM)


def load(folder: str | Path) -> Estimator | GLMHMM | FactorialHMM | PartialPooling:
    """The fitted estimator that ``save`` wrote to this folder. Reads numbers and names, never executes anything."""
    if (Path(folder) / f"{PARTIAL_POOLING}.json").exists():
        return PartialPooling.from_saved(folder)
    if (Path(folder) / f"{stored.FILE}.json").exists():
        return FactorialHMM.from_saved(folder)
    model, details = load_model(folder)
    kind = details.get("estimator")
    if kind == GLMHMM.__name__:
        return _checked(folder, lambda: GLMHMM.from_saved(model, details))
    if kind == DSSM.__name__:
        return _checked(folder, lambda: DSSM.from_saved(folder, model, details))
    return made_estimator(folder, model, details)


def _checked(folder: str | Path, made: Callable[[], E]) -> E:
    try:
        return made()
    except (TypeError, KeyError, AssertionError) as error:
        raise ValueError(f"{folder} was saved with options that do not fit ({error}).") from None


__all__ = [
    "DSSM",
    "ESTIMATORS",
    "GLMHMM",
    "HMM",
    "HSMM",
    "Estimator",
    "FactorialHMM",
    "PartialPooling",
    "StreamState",
    "load",
    "load_filter_state",
    "load_models",
    "save_models",
]
