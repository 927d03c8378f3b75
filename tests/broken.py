"""Fitted models with something wrong, that gates must find."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

Change = Callable[[Any], Any]


def with_parameters(part: str, **changes: Change) -> Change:
    """A model like another but for some parameters of one component."""

    def change(model: Any) -> Any:
        changed = copy.copy(model)
        component = model._model.components()[part]
        parameters = {name: change(component.parameters[name].clone()) for name, change in changes.items()}
        changed._model = replace(model._model, **{part: component.with_parameters(**parameters)})
        return changed

    return change


def with_value(index: tuple[int, ...], value: float) -> Change:
    """A tensor like another but for one entry."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor[index] = value
        return tensor

    return change


def never_done(model: Any) -> Any:
    """A model whose fit did not converge."""
    changed = copy.copy(model)
    changed.converged_ = False
    return changed


def unloadable(model: Any) -> Any:
    """A model that cannot be saved."""
    changed = copy.copy(model)
    changed.save = lambda folder: (_ for _ in ()).throw(OSError(f"no space at {folder}"))
    return changed
