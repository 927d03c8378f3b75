"""The shared library: which build fits this processor, and the structures it takes."""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_BUILDS = ("_portable", "_avx2", "_avx512")  # by hsmm_instruction_set()
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int64


def _structure(name: str, **members: type) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(members.items())})


Problem = _structure(
    "Problem",
    **dict.fromkeys(("n_restarts", "n_series", "n_rows", "n_states", "n_durations"), _INT),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), _POINTER),
    **dict.fromkeys(("emission", "offsets", "left_censored", "right_censored", "fragile", "lanes"), _POINTER),
    **dict.fromkeys(("n_groups", "n_threads"), _INT),
)
CountsOut = _structure(
    "CountsOut",
    **dict.fromkeys(("series_weight", "log_likelihood", "doubtful", "state"), _POINTER),
    **dict.fromkeys(("initial", "transition", "duration", "residual", "tail_stay", "tail_leave"), _POINTER),
)
LikelihoodOut = _structure("LikelihoodOut", **dict.fromkeys(("log_likelihood", "deficit", "lost"), _POINTER))
CausalOut = _structure(
    "CausalOut",
    **dict.fromkeys(("survival", "residual_survival", "state", "log_density"), _POINTER),
    **dict.fromkeys(("remaining", "elapsed", "doubtful"), _POINTER),
)
PathsOut = _structure(
    "PathsOut",
    **dict.fromkeys(("survival", "residual_survival", "log_probability", "states"), _POINTER),
)


@functools.cache
def load() -> ctypes.CDLL | None:
    """The fastest build that is installed and that this processor can run; None if there is none."""
    return next((open_build(name) for name in reversed(_BUILDS) if runs(name)), None)


def runs(name: str) -> bool:
    """Whether a build is installed and fits this processor; the portable one is asked."""
    portable = open_build("_portable")
    if portable is None or open_build(name) is None:
        return False
    return _BUILDS.index(name) <= portable.hsmm_instruction_set()


@functools.cache
def open_build(name: str) -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(name + suffix)
        if path.exists():
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                return None
    return None


def available() -> bool:
    """Whether a compiled kernel was found and loaded."""
    return load() is not None


def lane_width(bytes_per_number: int) -> int:
    """How many sequences the library works on at once."""
    return int(_loaded().hsmm_lanes(bytes_per_number))


def call(function: str, problem: ctypes.Structure, out: ctypes.Structure) -> None:
    if getattr(_loaded(), function)(ctypes.byref(problem), ctypes.byref(out)):
        raise MemoryError(f"{function}: no memory for the work space of a lane group.")


def _loaded() -> ctypes.CDLL:
    library = load()
    assert library is not None, "callers ask `supports` first"
    return library
