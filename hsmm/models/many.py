"""Fitted estimators and the models within them: one made of what was saved, and many in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from hsmm.components.model import Model
from hsmm.io import ManyModels, Stored, save_many
from hsmm.models.base import Estimator
from hsmm.models.hmm import HMM
from hsmm.models.hsmm import HSMM
from hsmm.training.trainers import resolve_trainer

ESTIMATORS: dict[str, type[Estimator]] = {"HSMM": HSMM, "HMM": HMM}
_AT_ONCE = 256


def save_models(folder: str | Path, models: Mapping[str, Estimator]) -> Path:
    """Write fitted estimators by name into a folder: two files, however many they are.

    Tables of models that agree in families and options are stacked; :func:`hsmm.load_models` reads them back. Raises
    ``ValueError`` for estimators of other kinds than HMM and HSMM.
    """
    return save_many(folder, {name: _stored(name, model) for name, model in models.items()})


def load_models(folder: str | Path) -> Mapping[str, Estimator]:
    """The fitted estimators that :func:`hsmm.save_models` wrote, by name. Each is read when it is asked for.

    Raises ``FileNotFoundError`` and ``ValueError`` as :func:`hsmm.load` does; for what is wrong with one model, when
    it is asked for.
    """
    return SavedEstimators(folder)


class SavedEstimators(Mapping[str, Estimator]):
    """Estimators on disc, of which the last few that were asked for are held."""

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._models = folder, ManyModels(folder)
        self._held = lru_cache(_AT_ONCE)(self._read)

    def __getitem__(self, name: str) -> Estimator:
        return self._held(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def _read(self, name: str) -> Estimator:
        found = self._models[name]
        fit = {key: value.tolist() for key, value in found.numbers.items()} or None
        return made_estimator(self._folder, found.model, {**found.details, "fit": fit})


def made_estimator(folder: str | Path, model: Model, details: Mapping[str, Any]) -> Estimator:
    """The estimator of a model and of what its ``save`` said of it in ``folder``."""
    kind, options = details.get("estimator"), details.get("options")
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


def _stored(name: str, model: Estimator) -> Stored:
    if ESTIMATORS.get(type(model).__name__) is not type(model):
        raise ValueError(f"{name!r} is a {type(model).__name__}; expected one of {', '.join(ESTIMATORS)}.")
    fit = model._fit_summary() or {}
    numbers = {key: torch.tensor(value, dtype=torch.float64) for key, value in fit.items()}
    return Stored(model._fitted_model(), model._details(), numbers)
