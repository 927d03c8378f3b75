"""Estimators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsmm.components.model import Model
from hsmm.io import load_model
from hsmm.models.base import Estimator
from hsmm.models.factorial import stored
from hsmm.models.factorial_hmm import FactorialHMM
from hsmm.models.glm_hmm import GLMHMM
from hsmm.models.hmm import HMM
from hsmm.models.hsmm import HSMM
from hsmm.models.streaming import StreamState, load_filter_state
from hsmm.training.trainers import resolve_trainer

ESTIMATORS: dict[str, type[Estimator]] = {"HSMM": HSMM, "HMM": HMM}


def load(folder: str | Path) -> Estimator | GLMHMM | FactorialHMM:
    """The fitted estimator that ``save`` wrote to this folder. Reads numbers and names, never executes anything."""
    if (Path(folder) / f"{stored.FILE}.json").exists():
        return FactorialHMM.from_saved(folder)
    model, details = load_model(folder)
    kind, options = details.get("estimator"), details.get("options")
    if kind == GLMHMM.__name__:
        return _glm_hmm(folder, model, details)
    if not isinstance(kind, str) or kind not in ESTIMATORS or not isinstance(options, dict):
        raise ValueError(f"{folder} holds an estimator {kind!r}; expected one of {', '.join(ESTIMATORS)}.")
    if (model.duration is None) != (kind == "HMM"):
        raise ValueError(f"{folder} holds tables that do not make an {kind}.")
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    objects = {name: part.bare() for name, part in model.components().items() if name not in options}
    try:
        if isinstance(options.get("trainer"), dict):
            options["trainer"] = resolve_trainer(options["trainer"])
        return ESTIMATORS[kind](**options, **objects)._adopt_loaded(model, details.get("fit"), details.get("features"))
    except (TypeError, KeyError) as error:
        raise ValueError(f"{folder} was saved with options that do not fit ({error}).") from None


def _glm_hmm(folder: str | Path, model: Model, details: dict[str, Any]) -> GLMHMM:
    try:
        return GLMHMM.from_saved(model, details)
    except (TypeError, KeyError, AssertionError) as error:
        raise ValueError(f"{folder} was saved with options that do not fit ({error}).") from None


__all__ = [
    "ESTIMATORS",
    "GLMHMM",
    "HMM",
    "HSMM",
    "Estimator",
    "FactorialHMM",
    "StreamState",
    "load",
    "load_filter_state",
]
