"""Scikit-learn's manners: constructor arguments by introspection."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Self

import numpy as np


class Parameters:
    """Constructor arguments that can be read, changed, cloned and shown by name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - components are values, not estimators
        """Constructor arguments by name."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; the fit, if any, stays as it was."""
        known = self._parameter_names()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {name!r}; expected one of {', '.join(known)}."
                )
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """An unfitted copy."""
        return type(self)(**copy.deepcopy(self.get_params()))

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        shown = {name: value for name, value in self.get_params().items() if value != defaults[name]}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False))

    @classmethod
    def _parameter_names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]


def whole(name: str, value: Any, least: int) -> int:
    """``value`` as an int, if it is a whole number of at least ``least``."""
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integral or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {least}.")
    return int(value)
