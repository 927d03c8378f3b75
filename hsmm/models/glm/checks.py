"""Options and keys as nemos takes them, or a sentence on what is wrong with them."""

from __future__ import annotations

import numbers
from typing import Any, Literal

import numpy as np
import torch

from hsmm.models.parameters import whole

StateFormat = Literal["one-hot", "index"]


def n_states_of(n_states: Any) -> int:
    """The number of states. Raises ``TypeError`` or ``ValueError`` for what is none."""
    if not isinstance(n_states, numbers.Real) or isinstance(n_states, bool) or n_states % 1:
        raise TypeError(f"n_states must be a whole number; found {n_states!r}.")
    if n_states < 1:
        raise ValueError(f"n_states must be a positive whole number; found {n_states!r}.")
    return int(n_states)  # type: ignore[call-overload]


def check_stopping(maxiter: Any, tol: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless EM could stop by these."""
    if not isinstance(maxiter, numbers.Number) or isinstance(maxiter, bool):
        raise TypeError(f"maxiter is {maxiter!r}; expected a whole number >= 1.")
    whole("maxiter", maxiter, 1)
    if not isinstance(tol, numbers.Real) or isinstance(tol, bool):
        raise TypeError(f"tol is {tol!r}; expected a number >= 0.")
    if not 0.0 <= float(tol) < np.inf:
        raise ValueError(f"tol is {tol!r}; expected a number >= 0, in nats per observation.")


def check_prior(name: str, prior: Any, shape: tuple[int, ...]) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless it is None or concentrations of this shape."""
    if prior is None:
        return
    try:
        array = np.asarray(prior, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {prior!r}; expected numbers of shape {shape}.") from None
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}.")
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{name} holds {array.min()}; expected numbers > 0 (1 is no prior).")


def check_format(state_format: Any) -> None:
    """Raise ``ValueError`` for a format of states that there is not."""
    if state_format not in ("one-hot", "index"):
        raise ValueError(f"state_format is {state_format!r}; expected 'one-hot' or 'index'.")


def as_seed(key: Any, name: str) -> int:
    """An int from an int or an array of ints, such as a JAX key."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        if key < 0:
            raise ValueError(f"{name} is {key}; expected a whole number >= 0.")
        return int(key)
    try:
        found = np.asarray(key)
    except TypeError:
        found = np.empty(0)
    if found.dtype.kind not in "iu" or found.size == 0:
        raise TypeError(f"{name} is {key!r}; expected a whole number, or an array of such as JAX makes keys of.")
    return int(np.random.SeedSequence([int(part) % 2**32 for part in found.ravel()]).generate_state(1)[0])


def generator_of(key: Any) -> torch.Generator:
    """The generator of a key: an int, a generator, or an array of ints."""
    if isinstance(key, torch.Generator):
        return key
    if isinstance(key, np.random.Generator):
        return torch.Generator().manual_seed(int(key.integers(2**62)))
    return torch.Generator().manual_seed(as_seed(key, "random_key"))
