"""Scikit-learn's manners: constructor arguments by introspection."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Self, TypeAlias

import numpy as np

from hsmm.errors import UnknownOptionError
from hsmm.spelling import Spelled, constructor_options, nearest

RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None
_SEEDS = 2**31
_KEPT = ("_sklearn_output_config", "_metadata_request")  # what scikit-learn's clone keeps, by its names


class Parameters(Spelled):
    """Constructor arguments that can be read, changed, cloned and shown by name."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - components are values, not estimators
        """Constructor arguments by name."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; the fit, if any, stays as it was."""
        known = self._parameter_names()
        for name in params:
            if name not in known:
                raise UnknownOptionError(
                    f"{type(self).__name__} has no parameter {name!r}{nearest(name, known)} Expected one of "
                    f"{', '.join(known)}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """An unfitted copy, which answers in the same kind and asks scikit-learn for the same."""
        made = type(self)(**copy.deepcopy(self.get_params()))
        made._answer_as(self)
        return made

    def _answer_as(self, other: Parameters) -> None:
        """In the same kind as another, and asking scikit-learn for the same."""
        for name in _KEPT:
            if name in other.__dict__:
                setattr(self, name, copy.deepcopy(other.__dict__[name]))

    def _head(self) -> str:
        """The constructor's call, with the options that differ from their defaults."""
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        return _call(type(self).__name__, self.get_params(), defaults)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False))

    @classmethod
    def _parameter_names(cls) -> tuple[str, ...]:
        return constructor_options(cls)  # type: ignore[arg-type]


def _call(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """How it would be made: the options that differ from their defaults."""
    different = {key: value for key, value in options.items() if repr(value) != repr(defaults.get(key, MISSING))}
    return f"{name}({', '.join(f'{key}={_shown(value)}' for key, value in different.items())})"


def _shown(value: Any) -> str:
    """A component likewise; anything else as it is."""
    if isinstance(value, tuple) and any(is_dataclass(item) for item in value):
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    known = [field for field in fields(value) if field.init and field.repr]
    options = {field.name: getattr(value, field.name) for field in known}
    return _call(type(value).__name__, options, {field.name: field.default for field in known})


def whole(name: str, value: Any, least: int, also: str = "") -> int:
    """``value`` as an int, if it is a whole number of at least ``least``; ``also`` says what else it might be."""
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integral or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number >= {least}{also}.")
    return int(value)


def seed_from(random_state: Any) -> int:
    """A seed >= 0: the number itself, one drawn from a generator of NumPy, or for None a new one each time."""
    if random_state is None:
        random_state = np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(_SEEDS))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(_SEEDS))
    check_random_state(random_state)
    return int(random_state)


def check_random_state(random_state: Any) -> None:
    """Raise ``ValueError`` unless :func:`seed_from` can make a seed of it."""
    if random_state is None or isinstance(random_state, np.random.Generator | np.random.RandomState):
        return
    try:
        whole("random_state", random_state, 0)
    except ValueError:
        raise ValueError(
            f"random_state is {random_state!r}; expected a whole number >= 0, a numpy.random.Generator or RandomState, "
            "or None for a new seed each time."
        ) from None
