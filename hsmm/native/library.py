"""The compiled library: which build fits this processor, and how its functions are called."""

from __future__ import annotations

import ctypes
import functools
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from hsmm.native.interface import declared_here, declared_in

_BUILDS = ("_portable", "_avx2", "_avx512")  # by hsmm_instruction_set()
# By what a function returns instead of 0: see boundary.hpp.
_CAUSES: dict[int, tuple[type[Exception], str]] = {
    1: (MemoryError, "no memory for its work space; give fewer rows, states, durations or restarts at once"),
    2: (OSError, "the system refused what threads need; use fewer, with torch.set_num_threads"),
}
_MISSING = "is not there"
_REBUILD = "rebuild it with `pip install .`, in a checkout with `python setup.py build_ext --inplace`"
_UNFORESEEN = (RuntimeError, "it failed in a way that was not foreseen; kernel='reference' computes the same")


@functools.cache
def load() -> ctypes.CDLL | None:
    """The fastest build that is installed and that this processor can run; None if there is none.

    The environment variable ``HSMM_NATIVE_BUILD`` names another; ``ImportError`` if it cannot be loaded.
    """
    if name := os.environ.get("HSMM_NATIVE_BUILD"):
        return _the_build(name)
    return next((open_build(name) for name in reversed(_BUILDS) if runs(name)), None)


def _the_build(name: str) -> ctypes.CDLL:
    library = open_build(name)
    if library is None:
        raise ImportError(
            f"HSMM_NATIVE_BUILD is {name!r}, which cannot be used: {why_not(name)}; build it first, or unset it."
        )
    return library


def runs(name: str) -> bool:
    """Whether a build is installed and fits this processor; the portable one is asked."""
    portable = open_build("_portable")
    if portable is None or open_build(name) is None:
        return False
    return _BUILDS.index(name) <= portable.hsmm_instruction_set()


def open_build(name: str) -> ctypes.CDLL | None:
    return _opened(name)[0]


def why_not(name: str) -> str | None:
    """What keeps a build from being used; None if nothing does."""
    return _opened(name)[1]


def complaint() -> str | None:
    """Why no build, or not the fastest, is in use although it could be; None if the fastest is."""
    if os.environ.get("HSMM_NATIVE_BUILD"):
        return None
    reasons = {name: why_not(name) for name in _BUILDS}
    stale = [f"{name} {reason}" for name, reason in reasons.items() if reason and reason != _MISSING]
    used = "a slower build" if available() else "the slower reference"
    if stale:
        return f"The native kernel cannot be used: {stale[0]}; {used} is in use."
    if not available():
        return f"The native kernel was not built (no C++ compiler at installation?); {used} is in use."
    return None


@functools.cache
def _opened(name: str) -> tuple[ctypes.CDLL | None, str | None]:
    """A build, or why it may not be used."""
    paths = [path for suffix in EXTENSION_SUFFIXES if (path := Path(__file__).with_name(name + suffix)).exists()]
    if not paths:
        return None, _MISSING
    try:
        library = ctypes.CDLL(str(paths[0]))
    except OSError as error:
        return None, f"cannot be loaded ({error}): {_REBUILD}"
    if differing := _differences(library):
        return None, f"was built from other sources ({', '.join(differing[:3])} declared differently): {_REBUILD}"
    return library, None


def _differences(library: ctypes.CDLL) -> list[str]:
    here, there = declared_here(), declared_in(library)
    return [name for name in here if here[name] != there.get(name)]


def available() -> bool:
    """Whether a compiled kernel was found and loaded."""
    return load() is not None


def lane_width(bytes_per_number: int) -> int:
    """How many sequences the library works on at once."""
    return int(_loaded().hsmm_lanes(bytes_per_number))


def call(function: str, *structures: ctypes.Structure) -> None:
    """Raises ``MemoryError``, ``OSError`` or ``RuntimeError``, as the library says why it failed."""
    if cause := getattr(_loaded(), function)(*map(ctypes.byref, structures)):
        error, sentence = _CAUSES.get(cause, _UNFORESEEN)
        raise error(f"{function}: {sentence}.")


def _loaded() -> ctypes.CDLL:
    library = load()
    assert library is not None, "callers ask `available` first"
    return library
