"""A GLM-HMM on disc. Functions go by name, and are given back by the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from hsmm.components.model import Model
from hsmm.io import save_model
from hsmm.models.glm import options as words
from hsmm.models.glm.fitted import Fitted
from hsmm.models.glm.parameters import ATTRIBUTES


class Keeping(Fitted):
    """Saving and loading, of the whole model and, as nemos has it, of its parameters."""

    dof_resid_: float

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to a folder of safetensors and JSON; :func:`hsmm.load` reads it back.

        Raises ``ValueError`` for a model with functions among its options, which are never saved.
        """
        model = self._fitted_model()
        options = described(self.get_params())
        if functions := [name for name, value in options.items() if isinstance(value, dict) and "function" in value]:
            raise ValueError(
                f"{', '.join(functions)} hold functions, which save does not write; use built-in names, or "
                "save_params, which keeps everything else."
            )
        names = ("log_likelihood_", "n_iter_", "converged_")
        fit = {name.rstrip("_"): getattr(self, name) for name in names} if hasattr(self, "log_likelihood_") else None
        shape = {"columns": self._columns, "single": self._is_single(), "dof_resid": getattr(self, "dof_resid_", None)}
        shape["features"] = self._feature_list()
        details = {"estimator": type(self).__name__, "options": options, "fit": fit, "shape": shape}
        return save_model(folder, model, details)

    @classmethod
    def from_saved(cls, model: Model, details: Mapping[str, Any]) -> Self:
        """The estimator that :meth:`save` described."""
        made = cls(**restored(details["options"], {}))
        shape = details["shape"]
        made._columns = None if shape["columns"] is None else tuple((str(n), int(w)) for n, w in shape["columns"])
        made._single = bool(shape["single"])
        made._set_attributes(model)
        made._remember_features(shape.get("features"))
        if shape["dof_resid"] is not None:
            made.dof_resid_ = shape["dof_resid"]
        for name, value in (details["fit"] or {}).items():
            setattr(made, f"{name}_", value)
        return made

    def _feature_list(self) -> list[str] | None:
        names = self.__dict__.get("feature_names_in_")
        return None if names is None else names.tolist()

    def save_params(self, filename: str | Path) -> None:
        """Write options and fitted attributes, where there are any, to an .npz file without pickles.

        Functions are written by name only: :meth:`load_params` wants them back.
        """
        arrays: dict[str, Any] = {}
        if self.__sklearn_is_fitted__():
            params = self._params()
            names = None if self._columns is None else [name for name, _ in self._columns]
            coef = params.coef if names is None else np.concatenate([params.coef[name] for name in names], 0)
            arrays = {"coef_": coef, **dict(zip(ATTRIBUTES[1:], params[1:], strict=True))}
        text = {"options": described(self.get_params()), "columns": getattr(self, "_columns", None)}
        text["features"] = self._feature_list()
        np.savez(filename, **arrays, description=np.array(json.dumps(text)))

    @classmethod
    def load_params(cls, filename: str | Path, mapping_dict: Mapping[str, Any] | None = None) -> Self:
        """The model that :meth:`save_params` wrote; ``mapping_dict`` gives back its functions, by the option's name."""
        path = Path(filename) if Path(filename).exists() else Path(f"{filename}.npz")
        with np.load(path, allow_pickle=False) as stored:
            text = json.loads(str(stored["description"]))
            arrays = {name: stored[name] for name in ATTRIBUTES if name in stored.files}
        made = cls(**restored(text["options"], mapping_dict or {}))
        if arrays:
            made._remember_features(text.get("features"))
            made._columns = None if text["columns"] is None else tuple((n, int(w)) for n, w in text["columns"])
            if made._columns is not None:
                edges = np.cumsum([width for _, width in made._columns])[:-1]
                parts = np.split(arrays["coef_"], edges)
                arrays["coef_"] = {name: part for (name, _), part in zip(made._columns, parts, strict=True)}
            for name in ATTRIBUTES:
                setattr(made, name, arrays[name])
        return made


def described(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as plain values; functions by name."""
    made: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            made[name] = {"entries": {key: plain(part) for key, part in value.items()}}
            if any(isinstance(part, dict) and "function" in part for part in made[name]["entries"].values()):
                made[name]["function"] = True
        else:
            made[name] = plain(value)
    made["observation_model"] = words.family(options["observation_model"])
    kind = words.regularizer(options["regularizer"])
    made["regularizer"] = type(kind).__name__
    if isinstance(kind, words.GroupLasso) and kind.mask is not None:
        made["regularizer"] = {"mask": np.asarray(kind.mask).tolist()}
    return made


def plain(value: Any) -> Any:
    """A value that JSON can hold; a function is its name."""
    if callable(value):
        return {"function": getattr(value, "__name__", type(value).__name__)}
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list, np.ndarray, Tensor)) or hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    return value


def restored(options: Mapping[str, Any], functions: Mapping[str, Any]) -> dict[str, Any]:
    """The options that :func:`described` made plain, with ``functions`` by their option's name."""
    made = dict(options)
    if isinstance(made["regularizer"], dict):
        made["regularizer"] = words.GroupLasso(made["regularizer"]["mask"])
    for name, value in options.items():
        if isinstance(value, dict) and "entries" in value:
            made[name] = {key: _function(key, part, functions) for key, part in value["entries"].items()}
        elif name != "regularizer":
            made[name] = _function(name, value, functions)
    return made


def _function(name: str, value: Any, functions: Mapping[str, Any]) -> Any:
    if not isinstance(value, dict) or "function" not in value:
        return value
    if name not in functions:
        raise ValueError(
            f"{name} was the function {value['function']!r}; give it back as mapping_dict={{{name!r}: ...}}."
        )
    return functions[name]
